"""From a request, an image and facts of the host to an OCI runtime spec. Pure.

The result shares nothing with its inputs or with another result (CVE-2021-21334). What can't be granted
here but does no harm when missing is left out with a warning; what would be unsafe is refused.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tricorn.errors import InvalidArgument, NotFound
from tricorn.model.oci import ImageConfig
from tricorn.model.requests import ContainerDesired, ExecRequest
from tricorn.model.spec import CAPABILITIES, Accounts, HostLimits, Identity
from tricorn.rules import capabilities, seccomp, spec_linux, spec_mounts, spec_process
from tricorn.rules.accounts import resolve_user
from tricorn.rules.user_namespaces import spec_members, wanted_maps

OCI_VERSION: Final = "1.0.2"  # what Debian 12's runtimes know
_HOSTNAME: Final = re.compile(
    r"(?=.{1,63}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_RESERVED_LABELS: Final = (
    "containerd.io/",
    "io.containerd.",
    "io.cri-containerd",
    "io.kubernetes.cri",
    "tricorn.",
)
# Annotations by which a runtime unlocks or changes what it does
_POWERFUL_ANNOTATIONS: Final = (
    "run.oci.",
    "io.katacontainers.",
    "org.systemd.property.",
    "cdi.k8s.io/",
    "module.wasm.",
)


def build_spec(
    desired: ContainerDesired,
    image: ImageConfig,
    *,
    id: str,
    namespace: str,
    accounts: Accounts,
    host: HostLimits,
    cgroup_path: str = "",
    rootfs: str = "rootfs",
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the spec and warnings about what this host can't grant.

    `cgroup_path` is /tricorn/NAMESPACE/ID when empty. Raises InvalidArgument, NotFound (a user, group,
    device, bind source or profile that isn't there), ResourceExhausted, Unimplemented; `field` names the
    request's field.
    """
    identity = resolve_user(desired.user or image.user, accounts, desired.groups)
    hostname = _hostname(desired, id)
    granted, warnings = _granted(desired, host)
    limits_, more = spec_process.rlimits(desired.rlimits, host)
    warnings += more
    process: dict[str, Any] = {
        "terminal": desired.terminal,
        "user": user_member(identity),
        "args": spec_process.arguments(desired, image),
        "env": spec_process.environment(desired, image, identity, hostname or id),
        "cwd": spec_process.directory(desired.cwd, image),
        "capabilities": capabilities.process_sets(granted),
        "rlimits": limits_,
        "noNewPrivileges": desired.no_new_privileges and not desired.privileged,
    }
    linux, more = _linux(desired, host, granted, cgroup_path or f"/tricorn/{namespace}/{id}")
    warnings += more
    if image.volumes:
        warnings.append(f"the image's volumes ({', '.join(image.volumes)[:200]}) are plain directories here")
    spec: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": process,
        "root": {"path": rootfs, "readonly": desired.read_only},
        "mounts": spec_mounts.mounts(desired, host),
        "linux": linux,
        "annotations": _annotations(desired, warnings),
    }
    if hostname:
        spec["hostname"] = hostname
    return spec, tuple(warnings)


def _granted(desired: ContainerDesired, host: HostLimits) -> tuple[tuple[str, ...], list[str]]:
    wanted = capabilities.choose(desired.cap_add, desired.cap_drop, privileged=desired.privileged)
    missing = [name for name in wanted if name not in host.capabilities]
    warnings = [f"without {', '.join(missing)}: this host's agent hasn't got it"] if missing else []
    return tuple(name for name in wanted if name not in missing), warnings


def _linux(
    desired: ContainerDesired, host: HostLimits, granted: tuple[str, ...], cgroup_path: str
) -> tuple[dict[str, Any], list[str]]:
    resources, warnings = spec_linux.resources(desired.resources, host, all_devices=desired.privileged)
    devices, allowed = spec_linux.devices(desired, host)
    resources["devices"] += allowed
    linux: dict[str, Any] = {
        "cgroupsPath": cgroup_path,
        "namespaces": spec_linux.namespaces(desired, host),
        "resources": resources,
        "devices": devices,
        "maskedPaths": [] if desired.privileged else list(spec_linux.MASKED_PATHS),
        "readonlyPaths": [] if desired.privileged else list(spec_linux.READONLY_PATHS),
    }
    if maps := wanted_maps(desired):
        linux |= spec_members(maps)
    sysctl = spec_linux.sysctls(desired)
    if sysctl:
        linux["sysctl"] = sysctl
    profile = _seccomp(desired, host, granted)
    if profile:
        linux["seccomp"] = profile
    return linux, warnings


def _seccomp(desired: ContainerDesired, host: HostLimits, granted: tuple[str, ...]) -> dict[str, Any] | None:
    if desired.privileged or desired.seccomp == "unconfined":
        return None
    if desired.seccomp in {"", "default"}:
        return seccomp.default_profile(granted, host.architecture)
    if not desired.seccomp.startswith("/"):
        raise InvalidArgument(
            f"seccomp profile {desired.seccomp[:200]!r} is malformed",
            hint="default, unconfined or an absolute path",
            field="seccomp",
        )
    profile = host.profiles.get(desired.seccomp)
    if profile is None:
        raise NotFound(
            f"seccomp profile {desired.seccomp[:200]!r} doesn't exist on the node", field="seccomp"
        )
    if "defaultAction" not in profile:
        raise InvalidArgument("the seccomp profile has no defaultAction", field="seccomp")
    return copy.deepcopy(dict(profile))


def _hostname(desired: ContainerDesired, id: str) -> str:
    if not spec_linux.is_private(desired, "uts"):
        if desired.hostname:
            raise InvalidArgument(
                "a hostname needs a uts namespace of its own",
                why="it would change the host",
                field="hostname",
            )
        return ""
    if desired.hostname and not _HOSTNAME.fullmatch(desired.hostname):
        raise InvalidArgument(
            f"hostname {desired.hostname[:80]!r} is malformed",
            why="letters, digits, dashes and dots, at most 63 characters",
            field="hostname",
        )
    return desired.hostname or re.sub(r"[^A-Za-z0-9-]", "-", id)[:63].strip("-")


def _annotations(desired: ContainerDesired, warnings: list[str]) -> dict[str, str]:
    kept = {}
    for key, value in desired.annotations.items():
        if key.startswith(_POWERFUL_ANNOTATIONS):
            warnings.append(f"annotation {key[:80]} is left out: it would change what the runtime does")
        else:
            kept[key] = value
    return kept


def user_member(identity: Identity) -> dict[str, Any]:
    """Return the OCI member `user`."""
    return {
        "uid": identity.uid,
        "gid": identity.gid,
        "umask": 0o022,
        "additionalGids": list(identity.groups),
    }


def image_labels(image: ImageConfig) -> dict[str, str]:
    """Return the image's labels that a container may carry: those by which nobody is steered
    (CVE-2026-53488: a label of the image became an order to the daemon).
    """
    return {key: value for key, value in image.labels.items() if not key.startswith(_RESERVED_LABELS)}


def exec_process(
    spec: Mapping[str, Any],
    request: ExecRequest,
    accounts: Accounts,
    *,
    host_capabilities: Sequence[str] = CAPABILITIES,
) -> dict[str, Any]:
    """Return the OCI process object of an exec: the container's process with the request over it.

    Nothing is inheritable. Another user gets that user's groups and home; a privileged exec gets
    `host_capabilities`. Raises as `build_spec`.
    """
    if not request.args or not request.args[0]:
        raise InvalidArgument("no command to run", field="args")
    if request.timeout < 0:
        raise InvalidArgument("a timeout can't be negative", hint="0 is for none", field="timeout")
    spec_process.check_arguments(request.args)
    process = copy.deepcopy(dict(spec.get("process") or {}))
    values = dict(word.partition("=")[::2] for word in process.get("env", ()))
    if request.user:
        identity = resolve_user(request.user, accounts)
        process["user"] = user_member(identity)
        values["HOME"] = identity.home
    if request.terminal:
        values.setdefault("TERM", "xterm")
    granted = (process.get("capabilities") or {}).get("bounding", ())
    if request.privileged:
        granted = host_capabilities
        process["noNewPrivileges"] = False
    process.update(
        args=list(request.args),
        env=spec_process.merge_environment(values, request.env),
        cwd=spec_process.check_directory(request.cwd, "cwd") if request.cwd else process.get("cwd", "/"),
        terminal=request.terminal,
        capabilities=capabilities.process_sets(granted),
    )
    for member in ("consoleSize", "commandLine"):
        process.pop(member, None)
    return process
