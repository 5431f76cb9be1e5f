"""Locks the calling process into one directory with the fewest rights that applying a layer takes.

Imported by the layer extractor: standard library only. All functions raise OSError.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from struct import Struct
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_PR_CAPBSET_DROP: Final = 24
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_FREE: Final = 16 << 20
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAPABILITIES: Final = Struct("=6I")  # effective, permitted, inheritable: low words, then high words

_header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
_held = ctypes.create_string_buffer(_CAPABILITIES.size)

CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID = 0, 1, 2, 3, 4
SYS_ADMIN, MKNOD, SETFCAP = 21, 27, 31
_LAST_CAPABILITY: Final = 63

_MEMORY: Final = 2 << 30  # zstd's window, the queue of chunks and the tables of a layer with many entries
_OPEN_FILES: Final = 1024


def _prctl(option: int, value: int = 0) -> None:
    if _libc.prctl(option, value, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def name_process(name: bytes) -> None:
    """Set the name that process listings show, at most 15 bytes."""
    buffer = ctypes.create_string_buffer(name)
    _libc.prctl(_PR_SET_NAME, ctypes.addressof(buffer), 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent has ended, so as to reap them."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def keep_freed_memory() -> None:
    """Let the allocator keep some MiB for the next buffer instead of giving them back to the kernel, which
    would have to clear every page of every buffer anew. Does nothing with a libc that can't.
    """
    tune = getattr(_libc, "mallopt", None)
    if tune is not None:
        tune(_M_MMAP_THRESHOLD, _KEPT_FREE)
        tune(_M_TRIM_THRESHOLD, _KEPT_FREE)


def die_with_parent(parent: int) -> None:
    """Be killed when the process `parent` ends; end at once if it has ended already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def limit_resources(open_files: int = _OPEN_FILES) -> None:
    """Bound memory and descriptors of this process, and forbid core dumps."""
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_NOFILE, open_files),
    ):
        _, hard = resource.getrlimit(kind)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))


def silence() -> None:
    """Put the standard streams of this process on /dev/null."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)


def close_all_but(*kept: int) -> None:
    """Close every other descriptor of this process."""
    first = 0
    for fd in sorted(kept):
        if first < fd:  # closerange(0, 0) would close all
            os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def enter_root(root: int) -> None:
    """Make the directory behind `root` this process's whole file system."""
    os.fchdir(root)
    os.chroot(".")


def keep_capabilities(kept: frozenset[int]) -> None:
    """Give up every capability but `kept`, for good, and never gain one by exec."""
    for capability in range(_LAST_CAPABILITY + 1):
        if capability not in kept and _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # past the kernel's last one, or not allowed to shrink the set: exec gains nothing anyway
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if _libc.capget(_header, _held) < 0:
        raise OSError(ctypes.get_errno(), "capget")
    _, permitted_low, _, _, _permitted_high, _ = _CAPABILITIES.unpack_from(_held)
    low = permitted_low & sum(1 << capability for capability in kept)
    _CAPABILITIES.pack_into(_held, 0, low, low, 0, 0, 0, 0)
    if _libc.capset(_header, _held) < 0:
        raise OSError(ctypes.get_errno(), "capset")


def forbid_tracing() -> None:
    """Keep processes of the same user from reading this one's memory."""
    _prctl(_PR_SET_DUMPABLE, 0)
