"""Access to roots whose content is untrusted: descriptors in, descriptors out, by openat2(2).

`RESOLVE_IN_ROOT` treats the root as chroot does: absolute symlinks and `..` stay inside. Magic links
(`/proc/*/fd`) are never followed. Nothing here resolves a path by string.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tricorn.errors import InvalidArgument, ResourceExhausted
from tricorn.fs import syscalls
from tricorn.fs.failures import typed

_IN_ROOT: Final = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_BENEATH: Final = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def opened_root(root: str) -> Iterator[int]:
    """Yield a descriptor of the directory `root`, a path the agent itself made. Raises NotFound."""
    try:
        fd = os.open(root, _DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise typed(error, f"cannot open the root directory {root}") from error
    try:
        yield fd
    finally:
        os.close(fd)


def open_in_root(root: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Open `path` as a process chrooted into `root` would. Raises OSError; the caller closes."""
    return syscalls.openat2(root, os.fsencode(path) or b".", flags, mode, _IN_ROOT)


def open_beneath(root: int, path: str | bytes, flags: int, mode: int = 0) -> int:
    """Open `path` below `root`; a path that leads out of it fails with EXDEV. Raises OSError."""
    return syscalls.openat2(root, os.fsencode(path) or b".", flags, mode, _BENEATH)


def open_regular(root: int, path: str | bytes) -> int:
    """Open a regular file of the root for reading. Raises OSError, or InvalidArgument for another type.

    The file is found by O_PATH first: opening a device or FIFO has effects of its own.
    """
    handle = open_in_root(root, path, os.O_PATH)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise InvalidArgument(f"{os.fsdecode(path)} in the container's root is not a regular file")
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    finally:
        os.close(handle)


def read_regular(root: int, path: str | bytes, limit: int) -> bytes | None:
    """Return the whole regular file `path` of the root, or None if there is none.

    Raises ResourceExhausted over `limit` bytes, InvalidArgument for a device, FIFO or directory.
    """
    name = os.fsdecode(path)
    try:
        fd = open_regular(root, path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise typed(error, f"cannot open {name} in the container's root") from error
    try:
        with os.fdopen(fd, "rb", buffering=0) as file:
            return _read_bounded(file.fileno(), name, limit)
    except OSError as error:
        raise typed(error, f"cannot read {name} in the container's root") from error


def _read_bounded(fd: int, name: str, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit + 1
    while left and (part := os.read(fd, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    if not left:
        raise ResourceExhausted(
            f"{name} in the container's root is too large", why=f"more than {limit} bytes"
        )
    return b"".join(parts)


def make_directories(root: int, path: str | bytes, mode: int = 0o755) -> int:
    """Make `path` and its missing parents inside `root` and return a descriptor of it.

    Existing symlinks are followed as in a chroot. Raises typed errors; the caller closes.
    """
    current = os.dup(root)
    done = b""
    try:
        for component in filter(None, os.fsencode(path).split(b"/")):
            done = done + b"/" + component if done else component
            following = _enter(root, current, done, component, mode)
            os.close(current)
            current = following
    except OSError as error:
        os.close(current)
        raise typed(
            error, f"cannot make the directory {os.fsdecode(path)} in the container's root"
        ) from error
    return current


def _enter(root: int, current: int, path: bytes, component: bytes, mode: int) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY
    try:
        return open_in_root(root, path, flags)
    except FileNotFoundError:
        os.mkdir(component, mode, dir_fd=current)
        return syscalls.openat2(
            current, component, flags, 0, syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
        )
