"""The program that holds a sandbox's namespaces: it reaps orphans and waits for SIGTERM or SIGINT.

No node needs a compiler or an image for it: it is 128 bytes of instructions and constants, written down here
for each kind of machine, behind the header of an executable. What it does, in C:

    sigaction(SIGCHLD, {SIG_IGN, SA_NOCLDWAIT});      /* the kernel reaps what ends */
    sigprocmask(SIG_BLOCK, {SIGINT, SIGTERM});        /* else the first process of a namespace misses them */
    while (sigtimedwait({SIGINT, SIGTERM}) < 0) ;
    exit_group(0);
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from tricorn.errors import Unimplemented

_BASE: Final = 0x400000
_HEADERS: Final = struct.Struct("<16sHHIQQQIHHHHHHIIQQQQQQ")
_IDENTITY: Final = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian
_EXECUTABLE, _LOAD, _READ_EXECUTE = 2, 1, 5
_PAGE: Final = 0x10000  # the largest that these machines have
_SIG_IGN, _SA_NOCLDWAIT = 1, 2
_WANTED: Final = 1 << (2 - 1) | 1 << (15 - 1)  # SIGINT, SIGTERM
# struct sigaction as the kernel has it (handler, flags, restorer, mask), and a signal set
_CONSTANTS: Final = struct.pack("<QQQQQ", _SIG_IGN, _SA_NOCLDWAIT, 0, 0, _WANTED)

_X86_64: Final = bytes.fromhex(
    "b80d000000"      #       mov  eax, 13          rt_sigaction
    "bf11000000"      #       mov  edi, 17          SIGCHLD
    "488d3547000000"  #       lea  rsi, [action]
    "31d2"            #       xor  edx, edx
    "41ba08000000"    #       mov  r10d, 8
    "0f05"            #       syscall
    "b80e000000"      #       mov  eax, 14          rt_sigprocmask
    "31ff"            #       xor  edi, edi         SIG_BLOCK
    "488d354f000000"  #       lea  rsi, [set]
    "31d2"            #       xor  edx, edx
    "41ba08000000"    #       mov  r10d, 8
    "0f05"            #       syscall
    "b880000000"      # wait: mov  eax, 128         rt_sigtimedwait
    "488d3d39000000"  #       lea  rdi, [set]
    "31f6"            #       xor  esi, esi
    "31d2"            #       xor  edx, edx
    "41ba08000000"    #       mov  r10d, 8
    "0f05"            #       syscall
    "85c0"            #       test eax, eax
    "78e4"            #       js   wait
    "b8e7000000"      #       mov  eax, 231         exit_group
    "31ff"            #       xor  edi, edi
    "0f05"            #       syscall
)  # fmt: skip
_AARCH64: Final = struct.pack(
    "<22I",
    0xD2800220,  #       mov  x0, #17            SIGCHLD
    0x100002A1,  #       adr  x1, action
    0xD2800002,  #       mov  x2, #0
    0xD2800103,  #       mov  x3, #8
    0xD28010C8,  #       mov  x8, #134           rt_sigaction
    0xD4000001,  #       svc  #0
    0xD2800000,  #       mov  x0, #0             SIG_BLOCK
    0x100002E1,  #       adr  x1, set
    0xD2800002,  #       mov  x2, #0
    0xD2800103,  #       mov  x3, #8
    0xD28010E8,  #       mov  x8, #135           rt_sigprocmask
    0xD4000001,  #       svc  #0
    0x10000240,  # wait: adr  x0, set
    0xD2800001,  #       mov  x1, #0
    0xD2800002,  #       mov  x2, #0
    0xD2800103,  #       mov  x3, #8
    0xD2801128,  #       mov  x8, #137           rt_sigtimedwait
    0xD4000001,  #       svc  #0
    0x37FFFF40,  #       tbnz w0, #31, wait
    0xD2800000,  #       mov  x0, #0
    0xD2800BC8,  #       mov  x8, #94            exit_group
    0xD4000001,  #       svc  #0
)


@frozen
class _Machine:
    number: int  # e_machine of the header
    code: bytes


_MACHINES: Final[Mapping[str, _Machine]] = {
    "x86_64": _Machine(62, _X86_64),
    "aarch64": _Machine(183, _AARCH64),
}


def pause_program(machine: str = "") -> bytes:
    """Return the executable file for this machine (or one of that name in `uname -m`). Unimplemented for a
    kind that it isn't written for.
    """
    name = machine or platform.machine()
    known = _MACHINES.get(name)
    if known is None:
        raise Unimplemented(
            f"sandboxes on machines of the kind {name}", why="the program that holds their namespaces is "
            f"written for {', '.join(sorted(_MACHINES))}",
        )  # fmt: skip
    body = known.code + _CONSTANTS
    start = _HEADERS.size
    return _HEADERS.pack(
        _IDENTITY, _EXECUTABLE, known.number, 1, _BASE + start, 64, 0, 0, 64, 56, 1, 0, 0, 0,
        _LOAD, _READ_EXECUTE, 0, _BASE, _BASE, start + len(body), start + len(body), _PAGE,
    ) + body  # fmt: skip
