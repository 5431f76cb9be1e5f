"""What a seccomp program lets through, for all system calls at once. Pure.

The program is walked along all its paths with the number of the call as a set: a comparison with it splits
the set, one with what isn't known (arguments, addresses) is followed both ways. So a call that is found
to be refused is refused whatever its arguments are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from tricorn.errors import InvalidArgument, ResourceExhausted

CALLS: Final = 1024  # numbers that are looked at, from a base on
ALL: Final = (1 << CALLS) - 1
_LENGTH: Final = 4096  # BPF_MAXINSNS
_STEPS: Final = 200_000
_PERMITTING: Final = frozenset({0x7FFF0000, 0x7FFC0000, 0x7FF00000, 0x7FC00000})  # allow, log, trace, notify
_ACTION: Final = 0xFFFF0000
_NUMBER_AT, _ARCH_AT = 0, 4
_CLASS: Final = 7
_LD, _LDX, _ST, _STX, _ALU, _JMP, _RET, _MISC = range(8)
_ABSOLUTE, _IMMEDIATE, _MEMORY = 0x20, 0x00, 0x60
_JUMP, _EQUAL, _GREATER, _AT_LEAST, _ANY_BIT = 0x00, 0x10, 0x20, 0x30, 0x40
_X: Final = 0x08
_NUMBER, _UNKNOWN = "number", "unknown"

Value = int | str  # a constant, the call's number, or anything


def permitted(program: bytes, arch: int, base: int = 0) -> int:
    """Return a bit for each of the CALLS numbers from `base` on that the program may let through.

    InvalidArgument for what the kernel wouldn't take; ResourceExhausted for one with too many paths.
    """
    code = _decode(program)
    let_through = 0
    seen: dict[tuple[int, Value], int] = {}
    waiting: list[tuple[int, Value, int]] = [(0, 0, ALL)]
    steps = 0
    while waiting:
        at, value, numbers = waiting.pop()
        if at >= len(code):
            raise InvalidArgument("a seccomp program of the dump ends without an answer")
        numbers &= ~seen.get((at, value), 0)
        if not numbers:
            continue
        seen[at, value] = seen.get((at, value), 0) | numbers
        steps += 1
        if steps > _STEPS:
            raise ResourceExhausted("a seccomp program of the dump has too many paths")
        kind, yes, no, constant = code[at]
        if kind & _CLASS == _RET:
            if kind & 0x18 or constant & _ACTION in _PERMITTING:  # an answer from a register may be any
                let_through |= numbers
        elif kind & _CLASS == _JMP:
            waiting += _branches(at, (kind, yes, no, constant), value, numbers, base)
        else:
            waiting.append((at + 1, _changed(kind, constant, value, arch), numbers))
    return let_through


def _decode(program: bytes) -> list[tuple[int, int, int, int]]:
    if not program or len(program) % 8 or len(program) > 8 * _LENGTH:
        raise InvalidArgument("a seccomp program of the dump is malformed", why=f"{len(program)} bytes")
    return list(struct.iter_unpack("<HBBI", program))


def _changed(kind: int, constant: int, value: Value, arch: int) -> Value:
    """Return what is in the accumulator after an instruction that is no jump."""
    if kind & _CLASS == _LD:
        mode = kind & 0xE0
        if mode == _IMMEDIATE:
            return constant
        if mode == _ABSOLUTE and constant == _NUMBER_AT:
            return _NUMBER
        return arch if mode == _ABSOLUTE and constant == _ARCH_AT else _UNKNOWN
    return value if kind & _CLASS in (_LDX, _ST, _STX) else _UNKNOWN


def _branches(
    at: int, instruction: tuple[int, int, int, int], value: Value, numbers: int, base: int
) -> list[tuple[int, Value, int]]:
    kind, yes, no, constant = instruction
    if kind & 0xF0 == _JUMP:
        return [(at + 1 + constant, value, numbers)]
    test = _TESTS.get(kind & 0xF0)
    if test is None:
        raise InvalidArgument("a seccomp program of the dump has an unknown instruction", why=hex(kind))
    if kind & _X or value == _UNKNOWN:
        chosen, others = numbers, numbers
    elif isinstance(value, int):
        chosen = numbers if test(value, constant) else 0
        others = numbers & ~chosen
    else:
        chosen = numbers & _matching(kind & 0xF0, constant, base)
        others = numbers & ~chosen
    return [(at + 1 + yes, value, chosen), (at + 1 + no, value, others)]


_TESTS: Final[dict[int, Callable[[int, int], bool]]] = {
    _EQUAL: lambda value, constant: value == constant,
    _GREATER: lambda value, constant: value > constant,
    _AT_LEAST: lambda value, constant: value >= constant,
    _ANY_BIT: lambda value, constant: bool(value & constant),
}


def _matching(test: int, constant: int, base: int) -> int:
    """Return the bits of the numbers for which the comparison holds."""
    if test == _ANY_BIT:
        return sum(1 << index for index in range(CALLS) if (base + index) & constant)
    first = constant - base + (1 if test == _GREATER else 0)
    if test == _EQUAL:
        return 1 << first if 0 <= first < CALLS else 0
    return ALL & ~((1 << min(max(first, 0), CALLS)) - 1)
