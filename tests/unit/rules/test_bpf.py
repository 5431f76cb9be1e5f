"""What seccomp programs let through, followed along all their paths."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.errors import InvalidArgument, TricornError
from tricorn.rules.bpf import ALL, permitted

X86_64 = 0xC000003E
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050001, 0x80000000
LOAD_NUMBER, LOAD_ARCH, LOAD_ARGUMENT = (0x20, 0, 0, 0), (0x20, 0, 0, 4), (0x20, 0, 0, 16)


def program(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)


def answer(code: int) -> tuple[int, int, int, int]:
    return (0x06, 0, 0, code)


def equal(value: int, yes: int, no: int) -> tuple[int, int, int, int]:
    return (0x15, yes, no, value)


def test_all_and_nothing() -> None:
    assert permitted(program(answer(ALLOW)), X86_64) == ALL
    assert permitted(program(answer(KILL)), X86_64) == 0
    assert permitted(program((0x16, 0, 0, 0)), X86_64) == ALL  # an answer from a register may be any


def test_a_list_of_numbers() -> None:
    listed = program(LOAD_NUMBER, equal(3, 2, 0), equal(7, 1, 0), answer(ERRNO), answer(ALLOW))
    assert permitted(listed, X86_64) == 1 << 3 | 1 << 7
    assert permitted(listed, X86_64, base=5) == 1 << 2


def test_a_range_of_numbers() -> None:
    above = program(LOAD_NUMBER, (0x25, 1, 0, 10), answer(ALLOW), answer(ERRNO))
    assert permitted(above, X86_64) == (1 << 11) - 1
    from_on = program(LOAD_NUMBER, (0x35, 0, 1, 10), answer(ALLOW), answer(ERRNO))
    assert permitted(from_on, X86_64) == ALL & ~((1 << 10) - 1)


def test_the_architecture_is_known_and_arguments_are_not() -> None:
    only_here = program(LOAD_ARCH, equal(X86_64, 0, 1), answer(ALLOW), answer(KILL))
    assert permitted(only_here, X86_64) == ALL
    assert permitted(only_here, 0x40000003) == 0
    by_argument = program(LOAD_ARGUMENT, equal(1, 0, 1), answer(ALLOW), answer(ERRNO))
    assert permitted(by_argument, X86_64) == ALL  # there is an argument with which it is let through


def test_what_the_kernel_would_not_take() -> None:
    for broken in (b"", b"x" * 7, program(LOAD_NUMBER), program((0x05, 0, 0, 9), answer(ALLOW))):
        with pytest.raises(InvalidArgument):
            permitted(broken, X86_64)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 9), st.integers(0, 9), st.integers(0, 2000))))
def test_any_program_gives_an_answer_or_a_typed_error(instructions: list[tuple[int, int, int, int]]) -> None:
    with suppress(TricornError):
        assert 0 <= permitted(program(*instructions), X86_64) <= ALL
