"""Whether the mounts of a dump are those that the target's spec grants. Pure.

CRIU mounts what the dump says, as the node's root and before it is inside of the container's file system
(criu/mount.c, criu/mount-v2.c): so each mount is judged, not the last at each place, and each mount
namespace. What may be mounted where is judged here, the form of a mount in `dump_mount_forms`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from tricorn.rules.dump_grants import grants
from tricorn.rules.dump_images import Dump
from tricorn.rules.dump_mount_forms import KINDS, clean, external_form, form
from tricorn.rules.dump_mount_images import DumpedMount

_NULL: Final = "/dev/null"  # what runtimes mask files by
_DEVICES: Final = ("/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero")
_TERMINALS: Final = ("/dev/console", "/dev/ptmx")
_PROPAGATED: Final = frozenset({"shared", "rshared", "slave", "rslave"})
_FLAGS: Final = {"nosuid": 2, "nodev": 4, "noexec": 8}


@frozen
class _Granted:
    """What a spec says of mounts, by place."""

    declared: Mapping[str, Mapping[str, Any]]
    masked: Collection[str]
    read_only: Collection[str]
    devices: Collection[str]  # that runtimes bind the node's to, where they can't be made
    root_read_only: bool
    propagated: bool  # may be in one group with others

    @classmethod
    def by(cls, spec: Mapping[str, Any]) -> _Granted:
        linux = spec.get("linux") or {}
        named = [clean(one.get("path") or "") for one in linux.get("devices") or ()]
        return cls(
            {clean(item["destination"]): item for item in spec.get("mounts") or ()},
            [clean(path) for path in linux.get("maskedPaths") or ()],
            [clean(path) for path in linux.get("readonlyPaths") or ()],
            frozenset((*_DEVICES, *named)) if linux.get("uidMappings") else frozenset(),
            bool((spec.get("root") or {}).get("readonly")),
            bool(linux.get("rootfsPropagation")) or grants(spec, "CAP_SYS_ADMIN"),
        )


def mounts(dump: Dump, spec: Mapping[str, Any], existing: Collection[str]) -> Iterator[str]:
    """Yield what is too much; `existing` are those of the masked and read-only paths that there are."""
    if not dump.mounts:
        yield "processes without a mount namespace of their own"
    granted = _Granted.by(spec)
    for image in dict.fromkeys(mount.image for mount in dump.mounts):
        together = [mount for mount in dump.mounts if mount.image == image]
        yield from _places(together)
        for mount in together:
            yield from filter(None, (form(mount) or _granted(mount, granted),))
            yield from _flags(mount, granted)
        yield from _hidden(together, granted, existing)
    yield from _shared(dump.mounts)


def _places(together: Sequence[DumpedMount]) -> Iterator[str]:
    """Each mount must lie on the one that its place belongs to: on another it would be covered by that, and a
    masked path be bare.
    """
    points = {mount.id: mount.point for mount in together}
    if [*points.values()].count("/") != 1:
        yield "a mount namespace without a root of its own"
    if len(points) != len(together):
        yield "mounts with the same number"
    for mount in together:
        above = [point for point in points.values() if _below(mount.point, point)]
        if mount.point != "/" and points.get(mount.parent) not in (
            max(above, key=len, default=""),
            mount.point,
        ):
            yield f"the mount at {mount.point} lies on another than its place"


def _below(point: str, above: str) -> bool:
    return point != above and point.startswith(above.rstrip("/") + "/")


def _granted(mount: DumpedMount, granted: _Granted) -> str:
    """Return what is wrong with a mount that the spec doesn't stand for, "" if it does."""
    point = mount.point
    if point == "/":
        return ""
    if point in granted.declared:
        return _declared(mount, granted.declared[point])
    if point in granted.masked:
        return _masked(mount)
    if point in granted.read_only:
        return "" if KINDS.get(mount.type) in ("proc", "sysfs") and not mount.external else _other(mount)
    return _implied(mount, granted)


def _implied(mount: DumpedMount, granted: _Granted) -> str:
    """Return the same of a mount that runtimes make without a word in the spec."""
    point, kind = mount.point, KINDS.get(mount.type)
    if point in _TERMINALS and not mount.external:
        return _of_kind(mount, "devpts")
    device = point in (*_TERMINALS, _NULL) or point in granted.devices
    # the single hierarchies below a mount of all control groups
    hierarchy = kind == "cgroup" and any(
        _below(point, above) and item.get("type") == "cgroup" for above, item in granted.declared.items()
    )
    if hierarchy or (device and mount.external):
        return external_form(mount, point) if mount.external else ""
    return f"a mount at {point} that isn't requested"


def _declared(mount: DumpedMount, item: Mapping[str, Any]) -> str:
    wanted = str(item.get("type") or "bind")
    if wanted == "bind" or {"bind", "rbind"} & {*(item.get("options") or ())}:
        if not mount.external:
            return f"the mount at {mount.point} is of another kind than the spec's {wanted}"
        return external_form(mount, mount.point)
    if wanted in ("cgroup", "cgroup2"):
        # on v1 it is a directory for the hierarchies; runtimes make it external on some hosts
        if mount.external:
            return external_form(mount, mount.point)
        kind = KINDS.get(mount.type)
        return "" if kind == "cgroup" or (kind, wanted) == ("tmpfs", "cgroup") else _other(mount, wanted)
    return _of_kind(mount, wanted)


def _of_kind(mount: DumpedMount, wanted: str) -> str:
    return "" if not mount.external and KINDS.get(mount.type) == wanted else _other(mount, wanted)


def _other(mount: DumpedMount, wanted: str = "") -> str:
    return f"the mount at {mount.point} is of another kind than the spec's {wanted}".rstrip()


def _masked(mount: DumpedMount) -> str:
    if mount.external:
        return external_form(mount, _NULL)
    hides = KINDS.get(mount.type) == "tmpfs" and mount.read_only
    return "" if hides else f"{mount.point} isn't masked"


def _flags(mount: DumpedMount, granted: _Granted) -> Iterator[str]:
    options = (granted.declared.get(mount.point) or {}).get("options") or ()
    for name, bit in _FLAGS.items():
        if name in options and not (mount.flags | mount.kept) & bit and KINDS.get(mount.type) != "cgroup":
            yield f"the mount at {mount.point} isn't {name}"

    if (mount.shared or mount.master) and not granted.propagated and not _PROPAGATED & {*options}:
        yield f"the mount at {mount.point} takes part in those of others"


def _hidden(together: Sequence[DumpedMount], granted: _Granted, existing: Collection[str]) -> Iterator[str]:
    """Yield what must be hidden or read-only and isn't."""
    seen: dict[str, list[DumpedMount]] = {}
    for mount in together:
        seen.setdefault(mount.point, []).append(mount)
    yield from (f"{path} isn't masked" for path in granted.masked if path in existing and path not in seen)
    for path in granted.read_only:
        if path in existing and not (path in seen and all(mount.read_only for mount in seen[path])):
            yield f"{path} isn't read-only"
    for point, item in granted.declared.items():
        if "ro" in (item.get("options") or ()):
            yield from (f"the mount at {at} is writable" for at in _writable(point, item, seen))
    if granted.root_read_only and any(not mount.read_only for mount in seen.get("/", ())):
        yield "the root file system is writable"


def _writable(point: str, item: Mapping[str, Any], seen: Mapping[str, Sequence[DumpedMount]]) -> list[str]:
    """Return where a mount that is to be read-only isn't. The directory in which v1's control groups are
    mounted is an ordinary one; they themselves must be read-only.
    """
    at = [point]
    if item.get("type") == "cgroup":
        at = [name for name in seen if name == point or _below(name, point)]
        at = [name for name in at if any(KINDS.get(mount.type) == "cgroup" for mount in seen[name])]
    return [name for name in at if any(not mount.read_only for mount in seen.get(name, ()))]


def _shared(all_mounts: Sequence[DumpedMount]) -> Iterator[str]:
    """CRIU binds a mount to another of the same device, so one that the dump calls a new tmpfs would be what
    lies behind an external one: a volume, writable though it be granted read-only.
    """
    volumes = {mount.device for mount in all_mounts if mount.external and mount.key != _NULL}
    for mount in all_mounts:
        fresh = KINDS.get(mount.type) in ("tmpfs", "devpts", "mqueue") and not mount.external
        if fresh and mount.device in volumes:
            yield f"the mount at {mount.point} is another's, from outside"
