"""What a mount of a dump may look like, whatever the spec grants: nothing of it may lead CRIU out. Pure.

CRIU gives the flags, sources and options of the dump to mount(2) as they are, and binds a mount to the root
of another of its device, following links and `..`. So a mount is either external (its source is what the spec
says), or a new one of a kind that needs no source, whole.
"""

from __future__ import annotations

import re
from typing import Final

from tricorn.rules.dump_mount_images import DumpedMount

# File systems that a container gets without a source (criu's images/mnt.proto)
KINDS: Final = {1: "proc", 2: "sysfs", 5: "tmpfs", 6: "devpts", 12: "cgroup", 14: "mqueue", 23: "cgroup"}
# MS_RDONLY, NOSUID, NODEV, NOEXEC, SYNCHRONOUS, MANDLOCK, DIRSYNC, NOSYMFOLLOW, NOATIME, NODIRATIME,
# POSIXACL, UNBINDABLE, PRIVATE, SLAVE, SHARED, RELATIME, I_VERSION, STRICTATIME, LAZYTIME. Not those by which
# mount(2) does something else: REMOUNT, BIND, MOVE.
_FLAGS: Final = sum(1 << bit for bit in (0, 1, 2, 3, 4, 6, 7, 8, 10, 11, *range(16, 22), 23, 24, 25))
_TERMINALS: Final = {"/dev/console": re.compile(r"/[0-9]+"), "/dev/ptmx": re.compile("/ptmx")}
_CGROUP_OPTIONS: Final = re.compile(
    r"(?:[a-z][a-z0-9_]*|name=systemd)(?:,(?:[a-z][a-z0-9_]*|name=systemd))*|"
)


def clean(path: str) -> str:
    """Return a place of a spec as the kernel tells of it."""
    parts = [part for part in str(path).split("/") if part not in ("", ".")]
    return "/" + "/".join(parts)


def form(mount: DumpedMount) -> str:
    """Return what is wrong with a mount's form, "" if nothing."""
    point = mount.point
    if not is_clean(point):
        return f"a mount at {point[:80]!r}, which leads elsewhere"
    if mount.plugin:
        return f"the mount at {point} is a plugin's"
    if odd := (mount.flags | mount.kept) & ~_FLAGS:
        return f"the mount at {point} has flags that no mount keeps ({odd:#x})"
    return "" if mount.external or point == "/" else _new_form(mount)


def _new_form(mount: DumpedMount) -> str:
    point = mount.point
    if mount.name or mount.type not in KINDS:
        return f"the mount at {point} is of a file system that isn't the container's own"
    if mount.deleted or not _has_own_root(mount):
        return f"the mount at {point} has a root that leads elsewhere: {mount.root[:80]!r}"
    if KINDS[mount.type] == "cgroup" and not _CGROUP_OPTIONS.fullmatch(mount.options):
        return f"the mount at {point} has the options {mount.options[:80]!r}"
    return ""


def external_form(mount: DumpedMount, key: str) -> str:
    """Return what is wrong with an external mount that has to have this key, "" if nothing: by another it
    would be what is granted elsewhere, perhaps with less rights.
    """
    return "" if clean(mount.key) == key else f"the mount at {mount.point} is that of {mount.key[:80]!r}"


def is_clean(path: str) -> bool:
    """Return whether a path is absolute and leads nowhere but down."""
    return path == "/" or (path == clean(path) and ".." not in path.split("/") and "\0" not in path)


def _has_own_root(mount: DumpedMount) -> bool:
    """Return whether a new mount is whole, or a part at its place (/bus of a proc at /proc/bus)."""
    kind, root = KINDS[mount.type], mount.root
    if root == "/":
        return True
    if kind in ("proc", "sysfs"):
        above = {"proc": "/proc", "sysfs": "/sys"}[kind]
        return mount.point == above + root
    if kind == "devpts":
        return mount.point in _TERMINALS and bool(_TERMINALS[mount.point].fullmatch(root))
    return kind == "cgroup" and is_clean(root)
