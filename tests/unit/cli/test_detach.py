from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.cli.detach import DEFAULT, DetachKeys, parse
from tricorn.errors import InvalidArgument

LEAVE = parse(DEFAULT)


def typed(sequence: bytes, *pieces: bytes) -> tuple[bytes, bool]:
    keys = DetachKeys(sequence)
    passed = b""
    for piece in pieces:
        passed += keys.feed(piece)
        if keys.detached:
            break
    else:
        passed += keys.flush()
    return passed, keys.detached


def test_the_default_is_ctrl_p_ctrl_q() -> None:
    assert LEAVE == b"\x10\x11"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", b""),
        ("a", b"a"),
        ("a,b", b"ab"),
        ("ctrl-a,d", b"\x01d"),
        ("ctrl-@,CTRL-[,ctrl-_", b"\x00\x1b\x1f"),
    ],
)
def test_parse(text: str, expected: bytes) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-1", "ab", "a,,b", "ctrl-p ctrl-q", "ü"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    assert caught.value.field == "--detach-keys"


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ((b"ls\r",), (b"ls\r", False)),
        ((b"ls\r\x10\x11",), (b"ls\r", True)),
        ((b"ls\r\x10", b"\x11"), (b"ls\r", True)),
        ((b"\x10", b"x"), (b"\x10x", False)),
        ((b"\x10",), (b"\x10", False)),
        ((b"\x10\x10\x11",), (b"\x10", True)),
        ((b"\x11\x10",), (b"\x11\x10", False)),
        ((b"a\x10\x11dropped",), (b"a", True)),
    ],
)
def test_sequences(pieces: tuple[bytes, ...], expected: tuple[bytes, bool]) -> None:
    assert typed(LEAVE, *pieces) == expected


def test_a_sequence_that_begins_inside_a_failed_one() -> None:
    assert typed(b"aab", b"aaab") == (b"a", True)
    assert typed(b"abac", b"ababac") == (b"ab", True)


def test_no_sequence_passes_everything() -> None:
    assert typed(b"", b"\x10\x11") == (b"\x10\x11", False)


@given(st.lists(st.binary(max_size=6)), st.sampled_from([b"\x10\x11", b"aab", b"abab"]))
def test_splitting_never_changes_the_outcome(pieces: list[bytes], sequence: bytes) -> None:
    whole = b"".join(pieces)
    passed, detached = typed(sequence, *pieces)
    assert detached == (sequence in whole)
    assert passed == (whole[: whole.index(sequence)] if detached else whole)


@given(st.text("ab", max_size=20), st.text("ab", min_size=1, max_size=5))
def test_any_sequence_over_a_small_alphabet(text: str, sequence: str) -> None:
    passed, detached = typed(sequence.encode(), *(char.encode() for char in text))
    assert detached == (sequence in text)
    assert passed.decode() == (text[: text.index(sequence)] if detached else text)
