"""Whether the processes of a dump come into the namespaces that the target's spec gives them. Pure.

CRIU makes a namespace where a process's number differs from its own in the inventory; one that has CRIU's own
number is restored in CRIU's: the node's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tricorn.rules.dump_grants import namespace_kinds
from tricorn.rules.dump_images import Dump

_NAMES: Final = {
    "pid": "process ids", "network": "networks", "ipc": "IPC", "uts": "host names",
    "cgroup": "control groups", "time": "clocks",
}  # fmt: skip


def namespaces(dump: Dump, spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is too much: a namespace of the node's where the spec has one, or has another one's ids."""
    linux = spec.get("linux") or {}
    kinds = namespace_kinds(spec)
    for kind, name in _NAMES.items():
        inside = dump.inside.get(kind, frozenset())
        if kind in kinds and (not inside or inside & {0, dump.outside.get(kind, 0)}):
            yield f"processes in the node's namespace of {name}"
    yield from _mount_namespaces(dump)
    yield from _user_namespace(dump, linux)


def _mount_namespaces(dump: Dump) -> Iterator[str]:
    """A container always has its own; each that a process is in must be one that was compared."""
    inside = dump.inside.get("mount", frozenset())
    images = {f"mountpoints-{number}.img" for number in inside}
    if not inside or dump.outside.get("mount", 0) in inside:
        yield "processes without a mount namespace of their own"
    elif images - {mount.image for mount in dump.mounts}:
        yield "processes in a mount namespace that the dump has no mounts of"


def _user_namespace(dump: Dump, linux: Mapping[str, Any]) -> Iterator[str]:
    """CRIU makes the user namespace from the dump: its ids must be those of the spec, and all be in it."""
    wanted = tuple(
        tuple(sorted((one["containerID"], one["hostID"], one["size"]) for one in linux.get(key) or ()))
        for key in ("uidMappings", "gidMappings")
    )
    inside = dump.inside.get("user", frozenset())
    own = inside - {0, dump.outside.get("user")}
    if not any(wanted):
        if own:
            yield "processes in a user namespace of their own"
        return
    if len(inside) != 1 or not own:
        yield "processes that aren't in the container's user namespace"
        return
    found = dump.mappings.get(next(iter(own)))
    if found != wanted:
        yield f"a user namespace with other ids than the spec's: {_id_text(found)}"


def _id_text(found: object) -> str:
    return str(found)[:120] if found else "none"
