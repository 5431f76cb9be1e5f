"""OCI specs of sandboxes: of the process that holds one's namespaces, and of containers that join it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tricorn.errors import InvalidArgument
from tricorn.rules.spec import OCI_VERSION
from tricorn.rules.spec_linux import MASKED_PATHS, READONLY_PATHS

PROGRAM: Final = "/pause"
SHARED: Final[Mapping[str, str]] = {"network": "net", "ipc": "ipc", "uts": "uts"}  # OCI's names, /proc's
_OWN: Final = tuple(SHARED)  # what a sandbox has when its spec says nothing of namespaces
_HELD: Final = frozenset({*SHARED, "pid", "cgroup", "user"})
_NOBODY: Final = 65535
_AS_THEY_ARE: Final = ("resources", "uidMappings", "gidMappings")
_NAMES: Final = ("hostname", "domainname")
_MOUNTS: Final = (
    {
        "destination": "/proc",
        "type": "proc",
        "source": "proc",
        "options": ["nosuid", "noexec", "nodev"],
    },
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "noexec", "mode=755", "size=64k"],
    },
)


def holder_spec(
    spec: bytes, *, netns: str, cgroup: str, rootfs: str, annotations: Mapping[str, str]
) -> bytes:
    """Return the spec of the process that holds a sandbox's namespaces.

    Of the sandbox's own spec it takes the host and domain names, the namespaces (none listed: network, IPC
    and UTS of its own), the mappings of a user namespace, sysctls, limits, and the path of the control group;
    everything else is about a process that a sandbox doesn't have. `netns` is the path of a network namespace
    to be in.

    InvalidArgument for what is no OCI spec.
    """
    document = _object(spec, "spec")
    linux = _part(document, "linux")
    path = str(linux.get("cgroupsPath") or "")
    holder: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        **{name: document[name] for name in _NAMES if document.get(name)},
        "process": {
            "args": [PROGRAM],
            "cwd": "/",
            "user": {"uid": _NOBODY, "gid": _NOBODY},
            "noNewPrivileges": True,
            "capabilities": {},
        },
        "root": {"path": rootfs, "readonly": True},
        "mounts": _MOUNTS,
        "annotations": {**_part(document, "annotations"), **annotations},
        "linux": {
            "namespaces": _namespaces(linux, netns),
            "sysctl": _part(linux, "sysctl"),
            "cgroupsPath": path if ":" in path else f"/{path.lstrip('/')}" if path else cgroup,
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(READONLY_PATHS),
            **{name: linux[name] for name in _AS_THEY_ARE if linux.get(name)},
        },
    }
    return msgspec.json.encode(holder)


def _namespaces(linux: Mapping[str, Any], netns: str) -> list[dict[str, str]]:
    listed = linux.get("namespaces")
    wanted = dict.fromkeys(_OWN, "") if not listed else _listed(listed)
    if netns:
        if not netns.startswith("/"):
            raise InvalidArgument(
                "a network namespace is given by an absolute path", why=repr(netns[:200]), field="netns_path"
            )
        wanted["network"] = netns
    wanted = {"mount": "", "pid": "", **wanted}  # the holder's own, shared by those that ask for it
    return [{"type": kind, **({"path": path} if path else {})} for kind, path in wanted.items()]


def _listed(listed: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in listed if isinstance(listed, list) else [listed]:
        kind = str(item.get("type")) if isinstance(item, dict) else ""
        if kind == "mount":
            continue
        if kind not in _HELD:
            raise InvalidArgument(f"namespace {kind[:64]!r} is not known", field="spec.linux.namespaces")
        found[kind] = str(item.get("path") or "")
    return found


def shared_namespaces(spec: bytes, pid: int) -> dict[str, str]:
    """Return the namespaces that containers of a sandbox share, as paths, by OCI's names."""
    held = {item["type"] for item in msgspec.json.decode(spec)["linux"]["namespaces"]}
    return {kind: f"/proc/{pid}/ns/{name}" for kind, name in SHARED.items() if kind in held}


def joined_spec(spec: bytes, shared: Mapping[str, str]) -> bytes:
    """Return a container's spec with the namespaces of its sandbox where it asks for one of the kind without
    saying which; the sandbox's host name is not its to change then.
    """
    document = _object(spec, "spec")
    linux = _part(document, "linux")
    namespaces = [
        {**item, "path": shared[item["type"]]}
        if isinstance(item, dict) and not item.get("path") and item.get("type") in shared
        else item
        for item in linux.get("namespaces") or ()
    ]
    joined = {**document, "linux": {**linux, "namespaces": namespaces}}
    if "uts" in shared and {"type": "uts", "path": shared["uts"]} in namespaces:
        for name in _NAMES:
            joined.pop(name, None)
    return msgspec.json.encode(joined)


def limits_of(spec: bytes) -> dict[str, Any]:
    """Return OCI's `linux.resources` of a sandbox's spec, empty if it has none."""
    return _part(_part(_object(spec, "spec"), "linux"), "resources")


def _object(data: bytes, field: str) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(data or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument("the sandbox's spec is not JSON", why=str(error)[:300], field=field) from None
    if not isinstance(document, dict):
        raise InvalidArgument("the sandbox's spec is not an object", field=field)
    return document


def _part(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = document.get(name) or {}
    if not isinstance(part, dict):
        raise InvalidArgument(f"{name} in the sandbox's spec is not an object", field=f"spec.{name}")
    return part
