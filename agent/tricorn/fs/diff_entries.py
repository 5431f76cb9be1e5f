"""What a layer tells of one file: status and extended attributes, and whether two files are the same.

Imported by the children of the fork server: no third-party module.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from tricorn.errors import Aborted
from tricorn.fs.tarheader import show

# A device or FIFO that took a file's place meanwhile: the mount is `nodev`, and opening must not wait.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE: Final = (FileNotFoundError, NotADirectoryError)
_KEPT: Final = frozenset({"security.capability", "system.posix_acl_access", "system.posix_acl_default"})
_COMPARE: Final = 1 << 18
_NANOSECONDS: Final = 1_000_000_000


def status_of(directory: int | None, name: str) -> os.stat_result | None:
    """Return what is there, None for nothing."""
    if directory is None:
        return None
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except _GONE:
        return None


def open_directory(parent: int, name: str) -> int | None:
    """Return a descriptor of the directory, None if it is gone or something else by now."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise


def open_regular(parent: int, name: str) -> int | None:
    """Return a descriptor of the regular file for reading, None if it is gone. Aborted for another type."""
    try:
        fd = os.open(name, _READ, dir_fd=parent)
    except _GONE:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EACCES):
            raise _changed(name) from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _changed(name)
    return fd


def _changed(name: str) -> Aborted:
    return Aborted(
        f"{show(os.fsencode(name))} was replaced while it was read",
        hint="pause the container, then try again",
    )


def xattrs_of(fd: int) -> dict[str, bytes]:
    """Return the extended attributes that belong into a layer: users' own, capabilities and ACLs."""
    try:
        names = os.listxattr(fd)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    found = {}
    for name in names:
        if name in _KEPT or (name.startswith("user.") and not name.startswith("user.overlay.")):
            try:
                found[name] = os.getxattr(fd, name)
            except OSError as error:
                if error.errno != errno.ENODATA:
                    raise
    return found


def overlay_mark(fd: int, name: str) -> bytes | None:
    """Return the value of `trusted.overlay.<name>`, None if there is none."""
    try:
        return os.getxattr(fd, f"trusted.overlay.{name}")
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return None
        raise


def same_metadata(left: os.stat_result, right: os.stat_result) -> bool:
    """Compare type, mode, owner and device number."""
    return (
        left.st_mode == right.st_mode
        and left.st_uid == right.st_uid
        and left.st_gid == right.st_gid
        and (left.st_rdev == right.st_rdev or not _is_device(left))
    )


def _is_device(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)


def same_inode(left: os.stat_result, right: os.stat_result) -> bool:
    """Tell whether both are one inode seen through two mounts: any change would have moved its ctime."""
    return (
        left.st_ino == right.st_ino
        and left.st_ctime_ns == right.st_ctime_ns
        and left.st_mtime_ns == right.st_mtime_ns
        and left.st_size == right.st_size
    )


def same_times(left: os.stat_result, right: os.stat_result) -> bool:
    """Compare size and time of two regular files; see `times_prove` for what that is worth."""
    return left.st_size == right.st_size and left.st_mtime_ns == right.st_mtime_ns


def times_prove(status: os.stat_result) -> bool:
    """Tell whether the same time means the same content: whole seconds come from archives and mean little."""
    return status.st_mtime_ns % _NANOSECONDS != 0


def same_content(left: int, right: int) -> bool:
    """Compare two open files byte by byte, and leave both at their start."""
    while True:
        ours, theirs = os.read(left, _COMPARE), os.read(right, _COMPARE)
        if ours != theirs:  # of regular files, reads are short only at the end
            break
        if not ours:
            break
    os.lseek(left, 0, os.SEEK_SET)
    os.lseek(right, 0, os.SEEK_SET)
    return ours == theirs
