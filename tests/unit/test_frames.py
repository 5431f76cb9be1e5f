"""The frame codec: any cut of the stream gives the same frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted, TricornError, Unavailable
from tricorn.frames import FROM_CLIENT, Frame, FrameDecoder, FrameKind, encode, encode_document, encode_stream

FRAMES = st.builds(Frame, st.sampled_from(FrameKind), st.binary(max_size=300))


@given(st.lists(FRAMES, max_size=10), st.data())
def test_round_trip_in_any_pieces(frames: list[Frame], data: st.DataObject) -> None:
    wire = b"".join(encode(frame.kind, frame.payload) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    decoder = FrameDecoder()
    got: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        got += decoder.feed(wire[start:end])
    decoder.close()
    assert got == frames


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_garbage_is_an_error_or_frames(pieces: list[bytes]) -> None:
    decoder = FrameDecoder()
    try:
        for piece in pieces:
            decoder.feed(piece)
        decoder.close()
    except TricornError:
        pass


def test_limits_are_checked_on_the_head() -> None:
    with pytest.raises(ResourceExhausted):
        FrameDecoder().feed(b"\0" + (limits.FRAME_SIZE + 1).to_bytes(4, "big"))
    with pytest.raises(ResourceExhausted):
        encode(FrameKind.STDIN, b"x" * (limits.FRAME_SIZE + 1))
    assert len(FrameDecoder().feed(encode(FrameKind.STDIN, b"x" * limits.FRAME_SIZE))) == 1


def test_sides_are_kept_apart() -> None:
    with pytest.raises(InvalidArgument, match="EXIT may not come"):
        FrameDecoder(FROM_CLIENT).feed(encode(FrameKind.EXIT, b"{}"))


def test_end_inside_a_frame() -> None:
    decoder = FrameDecoder()
    decoder.feed(encode(FrameKind.STDIN, b"abc")[:-1])
    with pytest.raises(Unavailable):
        decoder.close()


def test_documents() -> None:
    frame = FrameDecoder().feed(encode_document(FrameKind.RESIZE, {"rows": 1}))[0]
    assert frame.document() == {"rows": 1}
    for payload in (b"", b"[]", b"\xff", b"[" * 100_000):
        with pytest.raises(InvalidArgument):
            Frame(FrameKind.RESIZE, payload).document()


def test_stream_of_any_length() -> None:
    assert list(encode_stream(FrameKind.STDOUT, b"")) == []
    assert (
        sum(map(len, encode_stream(FrameKind.STDOUT, b"x" * (limits.FRAME_SIZE + 1))))
        == limits.FRAME_SIZE + 11
    )
