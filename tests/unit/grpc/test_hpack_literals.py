"""Blocks of literals mean the same to any decoder."""

from __future__ import annotations

import hpack
from hypothesis import given
from hypothesis import strategies as st

from tricorn.grpc import hpack_literals


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=400), st.binary(max_size=400)), max_size=5))
def test_any_fields(fields: list[tuple[bytes, bytes]]) -> None:
    decoder = hpack.Decoder()
    assert [tuple(field) for field in decoder.decode(hpack_literals.block(fields), raw=True)] == fields
    assert len(decoder.header_table.dynamic_entries) == 0


def test_what_is_made_beforehand() -> None:
    decoder = hpack.Decoder()
    block = hpack_literals.NO_TABLE + hpack_literals.GRPC_HEAD + hpack_literals.GRPC_OK
    assert [tuple(field) for field in decoder.decode(block)] == [
        (":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0"),
    ]  # fmt: skip
    assert decoder.header_table_size == 0
