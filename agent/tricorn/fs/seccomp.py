"""The system calls that applying a layer takes; every other one answers "not implemented".

Matters most for what the kept capabilities could do elsewhere: mount, open by handle, load modules.
Imported by the layer extractor: standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Collection
from functools import cache
from struct import Struct
from typing import Final

# Name: number on x86_64 and on aarch64. What is called for each file comes first: the kernel compares in
# this order.
_ALLOWED: Final[dict[str, tuple[int, int]]] = {
    "openat": (257, 56), "write": (1, 64), "close": (3, 57), "utimensat": (280, 88), "futex": (202, 98),
    "read": (0, 63), "fchown": (93, 55), "fchmod": (91, 52), "lseek": (8, 62), "mkdirat": (258, 34),
    "fchownat": (260, 54), "symlinkat": (266, 36), "linkat": (265, 37), "mknodat": (259, 33),
    "unlinkat": (263, 35), "fchmodat": (268, 53), "readlinkat": (267, 78), "newfstatat": (262, 79),
    "fstat": (5, 80), "statx": (332, 291), "openat2": (437, 437), "fsetxattr": (190, 7),
    "lsetxattr": (189, 6), "setxattr": (188, 5), "fgetxattr": (193, 10), "getxattr": (191, 8),
    "lgetxattr": (192, 9), "getdents64": (217, 61), "ftruncate": (77, 46), "pread64": (17, 67),
    "pwrite64": (18, 68), "fcntl": (72, 25), "fchdir": (81, 50), "dup": (32, 23), "dup3": (292, 24),
    "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226), "mremap": (25, 216),
    "madvise": (28, 233), "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "restart_syscall": (219, 128),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "getpid": (39, 172),
    "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "getppid": (110, 173), "tgkill": (234, 131), "exit": (60, 93),
    "exit_group": (231, 94), "clock_gettime": (228, 113), "clock_nanosleep": (230, 115),
    "poll": (7, 73),
    "nanosleep": (35, 101), "getrandom": (318, 278), "ppoll": (271, 73), "set_robust_list": (273, 99),
    "rseq": (334, 293), "membarrier": (324, 283), "umask": (95, 166), "writev": (20, 66),
    "readv": (19, 65), "listxattr": (194, 11), "llistxattr": (195, 12), "flistxattr": (196, 13),
    "renameat": (264, 38), "renameat2": (316, 276),
}  # fmt: skip
# Files of a container are replaced by renaming; a layer is applied without.
COPY: Final = frozenset(_ALLOWED)
LAYER: Final = COPY - {"renameat", "renameat2"}
# What takes no more than descriptors it was lent, memory and threads.
COMPUTE: Final = frozenset({
    "read", "write", "lseek", "pread64", "futex", "close", "mmap", "munmap", "mprotect", "mremap", "madvise",
    "brk", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall", "sched_yield",
    "sched_getaffinity", "getpid", "gettid", "tgkill", "exit", "exit_group", "clock_gettime",
    "clock_nanosleep", "nanosleep", "getrandom", "poll", "set_robust_list", "rseq", "membarrier",
})  # fmt: skip
FILL: Final = COMPUTE | {"utimensat"}
_CLONE: Final = (56, 220)  # threads only; clone3, which hides its flags, isn't there: libc falls back
_ARCHITECTURES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_CLONE_THREAD: Final = 0x10000

_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | errno.ENOSYS
_KILL: Final = 0x80000000
_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2
_INSTRUCTION: Final = Struct("=HBBI")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def program(machine: str, names: Collection[str] = LAYER) -> bytes | None:
    """Return the BPF program for a machine type as `uname` names it, None for one not known."""
    if machine not in _ARCHITECTURES:
        return None
    column, architecture = _ARCHITECTURES[machine]
    numbers = [pair[column] for name, pair in _ALLOWED.items() if name in names]
    count = len(numbers)
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        # Each hit jumps over the rest to the last instruction.
        *((_JUMP_EQUAL, count - index + 3, 0, number) for index, number in enumerate(numbers)),
        (_JUMP_EQUAL, 0, 2, _CLONE[column]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_JUMP_SET, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in code)


@cache
def prepare(names: frozenset[str] = LAYER) -> Callable[[], int] | None:
    """Build all that `install` takes, once: a process that forks many children does so before it forks them,
    since every page of memory that a child writes to costs it a fault. None where there are no filters.
    """
    code = program(os.uname().machine, names)
    if code is None:
        return None
    buffer = ctypes.create_string_buffer(code, len(code))
    argument = _Program(len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    # A handle of its own, as argument types belong to a handle's function.
    call = ctypes.CDLL(None, use_errno=True).prctl
    call.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)
    address = ctypes.addressof(argument)

    def filter_calls(_kept: tuple[object, ...] = (buffer, argument)) -> int:
        return int(call(_PR_SET_SECCOMP, _MODE_FILTER, address, 0, 0))

    return filter_calls


def install(names: frozenset[str] = LAYER) -> None:
    """Let this process make the calls of `names` only, for good; threads inherit it. Needs no_new_privs.

    Does nothing on a machine type or kernel that knows no filters. Raises OSError.
    """
    filter_calls = prepare(names)
    if filter_calls is not None and filter_calls() < 0:
        code_number = ctypes.get_errno()
        if code_number != errno.EINVAL:  # built without CONFIG_SECCOMP_FILTER
            raise OSError(code_number, "seccomp")
