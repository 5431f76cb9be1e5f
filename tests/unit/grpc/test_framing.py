"""Messages come out as they went in, however they were cut; bad ones are told from their first bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.grpc.framing import MessageReader, Outgoing, RawMessage
from tricorn.grpc.status import Code, RpcError
from tricorn_testing.grpc_calls import message


@given(st.lists(st.binary(max_size=3000), max_size=6), st.lists(st.integers(1, 2000), min_size=1, max_size=9))
def test_any_cut(payloads: list[bytes], sizes: list[int]) -> None:
    reader = MessageReader()
    wire = b"".join(map(message, payloads))
    at, turn, taken = 0, 0, []
    while at < len(wire):
        size = sizes[turn % len(sizes)]
        reader.feed(wire[at : at + size])
        at, turn = at + size, turn + 1
        while reader.ready:
            taken.append(reader.take())
    assert taken == payloads
    assert reader.size == 0
    assert reader.take() is None


@given(st.lists(st.binary(max_size=50), max_size=8), st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_outgoing_parts_in_any_pieces(parts: list[bytes], sizes: list[int]) -> None:
    outgoing = Outgoing(RawMessage(parts))
    sent, turn = b"", 0
    while outgoing.left:
        size = min(sizes[turn % len(sizes)], outgoing.left)
        piece = b"".join(outgoing.take(size))
        assert len(piece) == size
        sent, turn = sent + piece, turn + 1
    assert sent == message(b"".join(parts))


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"\x00\x01\x00\x00\x01", Code.RESOURCE_EXHAUSTED),
        (b"\x00\xff\xff\xff\xff", Code.RESOURCE_EXHAUSTED),
        (b"\x01\x00\x00\x00\x01", Code.UNIMPLEMENTED),
        (b"\x02\x00\x00\x00\x00", Code.INTERNAL),
    ],
)
def test_bad_prefixes_are_told_at_once(head: bytes, code: Code) -> None:
    reader = MessageReader()
    for byte in head:
        assert not reader.ready
        reader.feed(bytes((byte,)))
    assert reader.ready
    assert reader.ready
    with pytest.raises(RpcError) as caught:
        reader.take()
    assert caught.value.status.code is code


def test_the_largest_message_passes() -> None:
    reader = MessageReader(limit=1000)
    reader.feed(message(b"x" * 1000))
    assert reader.take() == b"x" * 1000
    reader.feed(message(b"x" * 1001)[:5])
    with pytest.raises(RpcError):
        reader.take()


def test_small_pieces_are_put_together() -> None:
    reader = MessageReader()
    for _ in range(100_000):
        reader.feed(b"\x00")
    assert len(reader._chunks) < 20
    assert reader.clear() == 100_000
    assert not reader.ready


def test_memory_views_count_bytes() -> None:
    raw = RawMessage((memoryview(bytes(8)).cast("Q"), b"ab"))
    assert raw.size == 10
    outgoing = Outgoing(raw)
    assert b"".join(outgoing.take(outgoing.left)) == message(bytes(8) + b"ab")
