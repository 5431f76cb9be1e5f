"""Numbers and fields as protobuf packs them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.rules.varints import field, packed_varint, varint


def test_numbers_are_packed_as_protobuf_does() -> None:
    packed = [packed_varint(number) for number in (0, 1, 127, 128, 300)]
    assert packed == [b"\0", b"\1", b"\x7f", b"\x80\1", b"\xac\2"]


@given(st.integers(0, 2**64 - 1), st.binary(max_size=4))
def test_what_was_packed_is_read_again(number: int, rest: bytes) -> None:
    data = packed_varint(number)
    assert varint(data + rest, 0) == (number, len(data))


def test_one_that_is_cut_off_is_told() -> None:
    with pytest.raises(ValueError, match="cut off"):
        varint(b"\x80\x80", 0)


def test_fields_hold_bytes_and_empty_ones_are_left_out() -> None:
    assert field(2, b"ab") == b"\x12\x02ab"
    assert field(2, b"") == b""
