"""Network namespaces that nothing has to live in: pinned by a mount, as ip-netns(8) does it.

A thread goes into one and comes back; no process is made. All functions block for a millisecond or so.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from tricorn.errors import FailedPrecondition, Internal, NotFound, PermissionDenied, Unimplemented

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 4096
_DETACH: Final = 2 | 8  # MNT_DETACH, UMOUNT_NOFOLLOW
_OWN: Final = "/proc/thread-self/ns/net"
T = TypeVar("T")


def of_process(pid: int) -> str:
    """Return the path of a process's network namespace."""
    return f"/proc/{pid}/ns/net"


def visit(path: str, work: Callable[[], T]) -> T:
    """Do `work` in the network namespace at `path`; this thread comes back after. NotFound."""
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        theirs = _open(path)
        try:
            _enter(theirs)
        finally:
            os.close(theirs)
        try:
            return work()
        finally:
            _enter(own)
    finally:
        os.close(own)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        if path.startswith("/proc/"):
            raise NotFound(f"process {path.split('/')[2]} has ended") from None
        raise NotFound(f"there is no network namespace at {path}") from None
    except OSError as error:
        raise FailedPrecondition(f"{path} can't be opened", why=os.strerror(error.errno or 0)) from None


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise Internal("a network namespace can't be entered", why=os.strerror(error))


def make(path: str) -> bool:
    """Make a network namespace and pin it at `path`, unless one is there; return whether it was made.

    Unimplemented for a kernel without them, PermissionDenied for an agent without CAP_SYS_ADMIN.
    """
    if pinned(path):
        return False
    with open(path, "ab"):
        pass
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.unshare(_CLONE_NEWNET) != 0:
            raise _refused("a network namespace can't be made", ctypes.get_errno())
        try:
            if _LIBC.mount(_OWN.encode(), path.encode(), b"none", _MS_BIND, None) != 0:
                raise _refused(f"a network namespace can't be pinned at {path}", ctypes.get_errno())
        finally:
            _enter(own)
    finally:
        os.close(own)
    return True


def _refused(what: str, number: int) -> Exception:
    why = os.strerror(number)
    if number == errno.EINVAL:
        return Unimplemented(what, why=why, hint="the kernel needs CONFIG_NET_NS")
    if number == errno.EPERM:
        return PermissionDenied(what, why=why, hint="the agent needs CAP_SYS_ADMIN")
    return FailedPrecondition(what, why=why)


def remove(path: str) -> None:
    """Unpin the namespace at `path`, whatever there is of it; it goes with the last process in it."""
    while _LIBC.umount2(path.encode(), _DETACH) == 0:
        pass
    with suppress(FileNotFoundError):
        os.unlink(path)


def pinned(path: str) -> bool:
    """Return whether a namespace is pinned at `path`: an empty file is what a reboot or a crash leaves."""
    try:
        return os.stat(path).st_dev == os.stat(_OWN).st_dev
    except FileNotFoundError:
        return False
