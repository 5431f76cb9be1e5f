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


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
        library.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    except (OSError, AttributeError):
        return None
    return library


def numbers_of(names: Iterable[str], token: int) -> dict[str, int] | None:
    """Return the numbers of those that the architecture has; None where there is no libseccomp."""
    library = _library()
    if library is None:
        return None
    found = {}
    for name in names:
        number = library.seccomp_syscall_resolve_name_arch(token, name.encode())
        if number >= 0:
            found[name] = number
    return found
