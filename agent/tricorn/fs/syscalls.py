"""System calls that Python's `os` lacks, by ctypes. They raise OSError; typed errors are the callers' part.

Imported by the layer extractor too, so it must import nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)

RESOLVE_NO_XDEV: Final = 0x01
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10

MS_RDONLY: Final = 0x1
MS_REMOUNT: Final = 0x20
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8
CLONE_FS: Final = 0x200

FSCONFIG_SET_FLAG: Final = 0
FSCONFIG_SET_STRING: Final = 1
FSCONFIG_CMD_CREATE: Final = 6

# The same numbers on every architecture that Linux gave them to after 5.1.
_OPENAT2: Final = 437
_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_FSOPEN: Final = 430
_FSCONFIG: Final = 431
_FSMOUNT: Final = 432
_MOUNT_SETATTR: Final = 442

MOUNT_ATTR_RDONLY: Final = 0x1
MOUNT_ATTR_NOSUID: Final = 0x2
MOUNT_ATTR_NODEV: Final = 0x4
MOUNT_ATTR_NOEXEC: Final = 0x8
MOUNT_ATTR_IDMAP: Final = 0x100000

_ATTEMPTS: Final = 64  # openat2 answers EAGAIN while a rename races with `..` in the path


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def _raw(*argtypes: type) -> ctypes._NamedFuncPointer:
    """Return a syscall(2) entry of its own, so that each call has fixed argument types."""
    function = _libc["syscall"]
    function.argtypes = (ctypes.c_long, *argtypes)
    function.restype = ctypes.c_long
    return function


_openat2 = _raw(ctypes.c_long, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
_fsopen = _raw(ctypes.c_char_p, ctypes.c_ulong)
_fsconfig = _raw(ctypes.c_long, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_long)
_fsmount = _raw(ctypes.c_long, ctypes.c_ulong, ctypes.c_ulong)
_open_tree = _raw(ctypes.c_long, ctypes.c_char_p, ctypes.c_ulong)
_mount_setattr = _raw(ctypes.c_long, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_size_t)
_move_mount = _raw(ctypes.c_long, ctypes.c_char_p, ctypes.c_long, ctypes.c_char_p, ctypes.c_ulong)
_libc.mount.argtypes = (
    ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p,
)  # fmt: skip
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)


def _check(result: int, path: bytes | str | None = None) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return result


def openat2(dirfd: int, path: bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open `path` under `dirfd` within the bounds of `resolve` and return a close-on-exec descriptor."""
    if b"\0" in path:
        raise OSError(errno.EINVAL, "embedded null byte", path)
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(_ATTEMPTS):
        fd: int = _openat2(_OPENAT2, dirfd, path, ctypes.addressof(how), 24)
        if fd >= 0:
            return fd
        if ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            break
    return _check(-1, path)


def mount(source: str, target: str, type: str, flags: int = 0, data: str = "") -> None:
    """Mount by the classic call. `data` holds at most a page (4095 bytes): more would be cut silently."""
    encoded = os.fsencode(data)
    if len(encoded) >= os.sysconf("SC_PAGE_SIZE"):
        raise OSError(errno.E2BIG, "mount options exceed a page", target)
    _check(
        _libc.mount(os.fsencode(source), os.fsencode(target), os.fsencode(type), flags, encoded or None),
        target,
    )


def umount(target: str, flags: int = 0) -> None:
    _check(_libc.umount2(os.fsencode(target), flags), target)


def fsopen(type: str) -> int:
    """Return a descriptor of a new file system context, close-on-exec."""
    return _check(_fsopen(_FSOPEN, type.encode(), 1))


def fsconfig_string(fd: int, key: str, value: str) -> None:
    _check(_fsconfig(_FSCONFIG, fd, FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0), key)


def fsconfig_flag(fd: int, key: str) -> None:
    _check(_fsconfig(_FSCONFIG, fd, FSCONFIG_SET_FLAG, key.encode(), None, 0), key)


def fsconfig_create(fd: int) -> None:
    _check(_fsconfig(_FSCONFIG, fd, FSCONFIG_CMD_CREATE, None, None, 0))


def fsmount(fd: int, attributes: int = 0) -> int:
    """Turn a created context into a detached mount and return its descriptor, close-on-exec."""
    return _check(_fsmount(_FSMOUNT, fd, 1, attributes))


def move_mount(fd: int, target: str) -> None:
    """Attach the detached mount `fd` at `target`."""
    at_fdcwd, from_empty_path = -100, 0x4
    _check(_move_mount(_MOVE_MOUNT, fd, b"", at_fdcwd, os.fsencode(target), from_empty_path), target)


def clone_mount(path: str, attributes: int, *, user_namespace: int = -1) -> int:
    """Return a descriptor of a detached bind mount of the directory `path` with `MOUNT_ATTR_*` set,
    close-on-exec. What is mounted below the directory is not in it. Takes Linux 5.12. With the descriptor
    of a user namespace, owners are shown as its mappings have them.
    """
    at_fdcwd, at_empty_path, clone = -100, 0x1000, 0x1
    fd = _check(_open_tree(_OPEN_TREE, at_fdcwd, os.fsencode(path), clone | os.O_CLOEXEC), path)
    wanted = _MountAttributes(attributes, 0, 0, 0)
    if user_namespace >= 0:
        wanted = _MountAttributes(attributes | MOUNT_ATTR_IDMAP, 0, 0, user_namespace)
    try:
        _check(_mount_setattr(_MOUNT_SETATTR, fd, b"", at_empty_path, ctypes.addressof(wanted), 32), path)
    except OSError:
        os.close(fd)
        raise
    return fd


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags))
