"""Opens what mounts would show, for reading only: read-only, without devices, without set-ID, in no tree.

Such a mount is attached nowhere where the kernel can do without, so that a crash leaves none behind.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from attrs import evolve

from tricorn.errors import InvalidArgument
from tricorn.fs import mounts, syscalls
from tricorn.fs.failures import typed
from tricorn.ports import FilesystemMount

_SAFE: Final = ("ro", "nodev", "nosuid", "noexec")
_ATTRIBUTES: Final = (
    syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NODEV | syscalls.MOUNT_ATTR_NOSUID
    | syscalls.MOUNT_ATTR_NOEXEC
)  # fmt: skip
_FLAGS: Final = syscalls.MS_RDONLY | 2 | 4 | 8  # the same for overlay_context
_WRITING: Final = ("workdir=", "upperdir=", "volatile", "rw")
_OLD_KERNEL: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP})


def is_bind(item: FilesystemMount) -> bool:
    return item.type in ("bind", "none", "") and ("bind" in item.options or "rbind" in item.options)


def directories(items: Sequence[FilesystemMount]) -> list[str] | None:
    """Return the directories whose union the mounts show, topmost first; None if they are no such thing."""
    if not items:
        return []
    if len(items) > 1:
        return None
    item = items[0]
    if is_bind(item):
        return [item.source]
    if item.type != "overlay" or "userxattr" in item.options:
        return None
    lowers, rest = mounts.split_lowers(item.options)
    return upper_of(rest) + lowers


def upper_of(options: Sequence[str]) -> list[str]:
    """Return the upper directory among overlay's options, in a list; [] without one."""
    return [option.partition("=")[2] for option in options if option.startswith("upperdir=")]


class OpenTree:
    """A directory to read from: `fd` is valid until `close`."""

    def __init__(self, mount_fd: int) -> None:
        self._mount = mount_fd
        try:
            self.fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount_fd)
        except BaseException:
            os.close(mount_fd)
            raise

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._mount)


def open_tree(items: Sequence[FilesystemMount], scratch: str) -> OpenTree:
    """Open what the mounts show together. `scratch` is a private directory of ours. Raises typed errors."""
    safe = [_readonly(item) for item in items]
    try:
        if len(safe) == 1:
            try:
                return OpenTree(_detached(safe[0]))
            except OSError as error:
                if error.errno not in _OLD_KERNEL:
                    raise
        return _attached(safe, scratch)
    except OSError as error:
        named = ", ".join(f"{item.type} {item.source}" for item in items)
        raise typed(error, f"cannot read what is mounted by {named[:300]}") from error


def open_directory(path: str) -> OpenTree:
    """Open one directory without what is mounted in it. Raises typed errors."""
    return open_tree([FilesystemMount("bind", path, ("bind",))], "")


def _readonly(item: FilesystemMount) -> FilesystemMount:
    if is_bind(item):
        return FilesystemMount("bind", item.source, ("bind", *_SAFE))
    if item.type != "overlay":
        return evolve(item, options=(*item.options, *_SAFE))
    lowers, rest = mounts.split_lowers(item.options)
    lowers = upper_of(rest) + lowers
    if not lowers:
        raise InvalidArgument("an overlay mount has no directories", field="mounts")
    if len(lowers) == 1:
        return FilesystemMount("bind", lowers[0], ("bind", *_SAFE))
    kept = [option for option in rest if not option.startswith(_WRITING) and option not in _SAFE]
    # A second mount of a live upper directory must not touch its work directory.
    joined = ":".join(lower.replace(":", "\\:") for lower in lowers)
    return FilesystemMount("overlay", "overlay", (*kept, *_SAFE, f"lowerdir={joined}"))


def _detached(item: FilesystemMount) -> int:
    if item.type == "bind":
        return syscalls.clone_mount(item.source, _ATTRIBUTES)
    if item.type != "overlay":
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    lowers, rest = mounts.split_lowers([option for option in item.options if option not in _SAFE])
    return mounts.overlay_context(_FLAGS, lowers, rest)


def _attached(items: Sequence[FilesystemMount], scratch: str) -> OpenTree:
    with ExitStack() as stack:
        os.makedirs(scratch, mode=0o700, exist_ok=True)
        target = tempfile.mkdtemp(prefix="read-", dir=scratch)
        stack.callback(os.rmdir, target)
        mounts.mount_all(items, target)
        stack.callback(mounts.unmount, target, detach=True)
        return OpenTree(os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
