"""Numbers of system calls by name and architecture, as libseccomp has them: the library that runtimes use."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterable, Mapping
from typing import Final

# SCMP_ARCH_… of a spec: AUDIT_ARCH_… of the kernel (linux/audit.h), which is libseccomp's token, too
TOKENS: Final[Mapping[str, int]] = {
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_PPC64LE": 0xC0000015,
    "SCMP_ARCH_S390X": 0x80000016,
    "SCMP_ARCH_RISCV64": 0xC00000F3,
}


# Calls that 32-bit x86 has twice: by a number of their own (arch/x86/entry/syscalls/syscall_32.tbl), behind
# one number for all of a kind, too. libseccomp lets both through, and gives neither as the name's number.
_X86_SOCKETS: Final = {
    "recvmmsg": 337, "sendmmsg": 345, "socket": 359, "socketpair": 360, "bind": 361, "connect": 362,
    "listen": 363, "accept4": 364, "getsockopt": 365, "setsockopt": 366, "getsockname": 367,
    "getpeername": 368, "sendto": 369, "sendmsg": 370, "recvfrom": 371, "recvmsg": 372, "shutdown": 373,
    "accept": 364, "send": 369, "recv": 371,
}  # fmt: skip
_X86_IPC: Final = {
    "semget": 393, "semctl": 394, "shmget": 395, "shmctl": 396, "shmat": 397, "shmdt": 398, "msgget": 399,
    "msgsnd": 400, "msgrcv": 401, "msgctl": 402, "semop": 420, "semtimedop": 420,
}  # fmt: skip
_X86_TWICE: Final = {
    **{name: (number, 102) for name, number in _X86_SOCKETS.items()},
    **{name: (number, 117) for name, number in _X86_IPC.items()},
}


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
        library.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    except (OSError, AttributeError):
        return None
    return library


def numbers_of(names: Iterable[str], token: int) -> dict[str, tuple[int, ...]] | None:
    """Return the numbers of those that the architecture has; None where there is no libseccomp."""
    library = _library()
    if library is None:
        return None
    found: dict[str, tuple[int, ...]] = {}
    for name in names:
        number = library.seccomp_syscall_resolve_name_arch(token, name.encode())
        if number >= 0:
            found[name] = (number,)
        elif token == TOKENS["SCMP_ARCH_X86"] and name in _X86_TWICE:
            found[name] = _X86_TWICE[name]
    return found
