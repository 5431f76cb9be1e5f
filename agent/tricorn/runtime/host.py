"""Facts of this host that a container spec is built from (`model.spec.HostLimits`)."""

from __future__ import annotations

import json
import os
import platform
import resource
import stat
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import trio
from attrs import evolve

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.model.requests import ContainerDesired
from tricorn.model.spec import CAPABILITIES, DeviceNode, HostLimits
from tricorn.runtime.cgroup import Hierarchies, detect

_LIMITER: Final = trio.CapacityLimiter(2)
_PROFILE_SIZE: Final = 1 * limits.MIB
_RLIMIT_INFINITY: Final = 2**64 - 1
_MACHINES: Final = {
    "x86_64": "amd64", "i686": "386", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le",
    "riscv64": "riscv64", "s390x": "s390x",
}  # fmt: skip
_SPECIAL: Final = ("/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/.lxc", "/dev/console")  # noqa: S108
_CONTROLLERS_OF: Final = {
    "memory": {"memory"}, "cpu": {"cpu"}, "pids": {"pids"}, "blockIO": {"blkio", "io"},
}  # fmt: skip


async def host_limits(desired: ContainerDesired) -> HostLimits:
    """Return what concerns this request: real paths of its bind sources, its devices, its seccomp profile.

    Raises InvalidArgument for a profile that isn't a JSON object of at most 1 MiB.
    """
    if not (desired.mounts or desired.devices or desired.privileged or desired.seccomp.startswith("/")):
        await trio.lowlevel.checkpoint()
        return _known_limits()
    return await trio.to_thread.run_sync(_host_limits, desired, limiter=_LIMITER)


@cache
def _known_limits() -> HostLimits:
    """Return what stays as it is while the agent runs: with many containers, the mounts alone are long to
    read.
    """
    return static_limits(detect())


def _host_limits(desired: ContainerDesired) -> HostLimits:
    return evolve(
        _known_limits(),
        sources={mount.source: _real(mount.source) for mount in desired.mounts if mount.type == "bind"},
        devices=_devices(desired),
        profiles=_profiles(desired.seccomp),
    )


def static_limits(hierarchies: Hierarchies) -> HostLimits:
    """Return what doesn't depend on a request."""
    granted = _capabilities()
    return HostLimits(
        rlimits=_rlimits(),
        has_cap_sys_resource="CAP_SYS_RESOURCE" in granted,
        capabilities=granted,
        cgroup_mode=hierarchies.mode,
        cgroup_controllers=_controllers(hierarchies),
        swap_accounting=_accounts_for_swap(hierarchies),
        architecture=_MACHINES.get(platform.machine(), platform.machine()),
    )


def _capabilities() -> tuple[str, ...]:
    """Return what this process can hand on: its permitted and bounding capabilities."""
    masks = dict.fromkeys(("CapPrm", "CapBnd"), 0)
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key in masks:
                masks[key] = int(value, 16)
    mask = masks["CapPrm"] & masks["CapBnd"]
    return tuple(name for number, name in enumerate(CAPABILITIES) if mask >> number & 1)


def _rlimits() -> dict[str, int]:
    found = {}
    for name in dir(resource):
        if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE":
            hard = resource.getrlimit(getattr(resource, name))[1]
            found[name] = _RLIMIT_INFINITY if hard == resource.RLIM_INFINITY else hard
    return found


def _controllers(hierarchies: Hierarchies) -> tuple[str, ...]:
    present = set(hierarchies.v1) | set(hierarchies.v2_controllers)
    return tuple(name for name, controllers in _CONTROLLERS_OF.items() if controllers & present)


def _accounts_for_swap(hierarchies: Hierarchies) -> bool:
    if "memory" in hierarchies.v1:
        return os.path.exists(f"{hierarchies.v1['memory']}/memory.memsw.limit_in_bytes")
    return "memory" in hierarchies.v2_controllers and os.path.exists("/proc/swaps")


def _real(path: str) -> str:
    """Return the path without symlinks, "" when nothing is there. Restores need real paths, too."""
    real = os.path.realpath(path)
    return real if os.path.lexists(real) and not os.path.islink(real) else ""


def _devices(desired: ContainerDesired) -> dict[str, DeviceNode]:
    paths = [text.partition(":")[0] for text in desired.devices]
    if desired.privileged:
        paths += _all_devices()
    return {path: node for path in paths if (node := _device(path))}


def _all_devices() -> Iterator[str]:
    for directory, names, files in os.walk("/dev"):
        names[:] = [name for name in names if not f"{directory}/{name}".startswith(_SPECIAL)]
        for name in files:
            path = f"{directory}/{name}"
            if not path.startswith(_SPECIAL) and not os.path.islink(path):
                yield path


def _device(path: str) -> DeviceNode | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    kind = "c" if stat.S_ISCHR(found.st_mode) else "b" if stat.S_ISBLK(found.st_mode) else ""
    if not kind:
        return None
    device = found.st_rdev
    mode = stat.S_IMODE(found.st_mode)
    return DeviceNode(path, kind, os.major(device), os.minor(device), mode, found.st_uid, found.st_gid)


def _profiles(path: str) -> Mapping[str, Mapping[str, Any]]:
    if not path.startswith("/"):
        return {}
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return {}
    with open(fd, "rb") as file:
        data = file.read(_PROFILE_SIZE + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    try:
        document = json.loads(data) if len(data) <= _PROFILE_SIZE else None
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise InvalidArgument(
            f"seccomp profile {path[:200]!r} isn't usable",
            why=f"not a JSON object of at most {_PROFILE_SIZE} bytes",
            field="seccomp",
        )
    return {path: document}
