"""Bytes in, events out, without I/O; h2's own engine is the other side."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
import pytest

from tricorn import limits
from tricorn.grpc import frames, hpack_literals
from tricorn.grpc.engine import Engine
from tricorn.grpc.events import (
    DataReceived,
    ErrorCode,
    Event,
    GoneAway,
    HeadersReceived,
    ProtocolViolation,
    StreamGone,
    StreamReset,
    WindowOpened,
)
from tricorn.grpc.framing import Outgoing, RawMessage
from tricorn_testing.grpc_calls import (
    HELLO,
    PREFACE,
    data,
    headers,
    message,
    request_fields,
    reset,
    settings,
    window_update,
)


def drain(engine: Engine) -> list[Event]:
    events: list[Event] = []
    more = True
    while more:
        found, more = engine.events()
        events += found
    return events


def said(engine: Engine) -> bytes:
    return b"".join(engine.take_output())


def serving(*pieces: bytes) -> tuple[Engine, list[Event]]:
    engine = Engine(client=False)
    engine.feed(HELLO + b"".join(pieces))
    return engine, drain(engine)


def violation(*pieces: bytes) -> int:
    with pytest.raises(ProtocolViolation) as caught:
        serving(*pieces)
    return caught.value.code


def test_a_request() -> None:
    _, events = serving(headers(1), data(1, b"abc"), data(1, b"", end=True))
    assert events[1:] == [
        HeadersReceived(1, request_fields(), False),
        DataReceived(1, b"abc", 3, False),
        DataReceived(1, b"", 0, True),
    ]


@pytest.mark.parametrize("size", [1, 2, 5, 9, 10])
def test_any_cut(size: int) -> None:
    wire = HELLO + headers(1) + data(1, b"abc", end=True)
    engine = Engine(client=False)
    events: list[Event] = []
    for start in range(0, len(wire), size):
        engine.feed(wire[start : start + size])
        events += drain(engine)
    assert events[1:] == [HeadersReceived(1, request_fields(), False), DataReceived(1, b"abc", 3, True)]


def test_h2_as_the_client_understands_us() -> None:
    theirs = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    theirs.initiate_connection()
    theirs.send_headers(1, request_fields())
    theirs.send_data(1, message(b"x"), end_stream=True)
    engine = Engine(client=False)
    engine.feed(theirs.data_to_send())
    assert len([event for event in drain(engine) if isinstance(event, HeadersReceived)]) == 1
    engine.headers(1, hpack_literals.GRPC_HEAD, end=False)
    outgoing = Outgoing(RawMessage((b"y" * 40_000,)))
    engine.data(1, outgoing, outgoing.left)
    engine.headers(1, hpack_literals.GRPC_OK, end=True)
    names = [type(event).__name__ for event in theirs.receive_data(said(engine))]
    assert [name for name in names if "Settings" not in name and name != "WindowUpdated"] == [
        "ResponseReceived", "DataReceived", "DataReceived", "DataReceived", "TrailersReceived", "StreamEnded",
    ]  # fmt: skip
    assert not engine.is_open(1)


def test_long_trailers_are_continued() -> None:
    engine, _ = serving(headers(1))
    engine.take_output()
    engine.headers(1, hpack_literals.block([(b"x", b"y" * 40_000)]), end=True)
    cutter = frames.FrameCutter(client=True)
    cutter._begun = True
    cutter.feed(said(engine))
    seen = []
    while (frame := cutter.next()) is not None:
        seen.append((frame.kind, frame.flags & (frames.END_HEADERS | frames.END_STREAM)))
    assert seen == [(frames.HEADERS, 1), (frames.CONTINUATION, 0), (frames.CONTINUATION, 4)]


def test_a_smaller_header_table_is_acknowledged_in_the_next_block() -> None:
    engine = Engine(client=False)
    engine.feed(PREFACE + settings(table=0) + headers(1) + headers(3))
    drain(engine)
    engine.take_output()
    engine.headers(1, b"\x88", end=True)
    engine.headers(3, b"\x88", end=True)
    output = said(engine)
    assert output.count(b"\x20\x88") == 1


def test_known_blocks_are_forgotten_when_the_table_changes() -> None:
    import hpack

    encoder = hpack.Encoder()
    client_fields = [
        request_fields(b"/a"),
        request_fields(b"/a"),
        request_fields(b"/b"),
        request_fields(b"/a"),
    ]
    blocks = [encoder.encode(fields, huffman=False) for fields in client_fields]
    pieces = [
        frames.encode(frames.HEADERS, frames.END_HEADERS, 2 * index + 1, block)
        for index, block in enumerate(blocks)
    ]
    _, events = serving(*pieces)
    assert [event.fields for event in events if isinstance(event, HeadersReceived)] == client_fields


def test_padding_and_priority_are_taken_off() -> None:
    block = hpack_literals.block(request_fields())
    flags = frames.END_HEADERS | frames.PADDED | frames.WITH_PRIORITY
    _, events = serving(
        frames.encode(frames.HEADERS, flags, 1, b"\x03" + bytes(5) + block + bytes(3)),
        data(1, b"\x02abc\x00\x00", flags=frames.PADDED),
    )
    assert events[1:] == [HeadersReceived(1, request_fields(), False), DataReceived(1, b"abc", 6, False)]


def test_what_is_ignored() -> None:
    engine, events = serving(
        frames.encode(0xEE, 0xFF, 7, b"unknown"),
        frames.encode(frames.PRIORITY, 0, 9, bytes(5)),
        frames.encode(frames.SETTINGS, 0, 0, frames.encode_settings({0x99: 1, 0xABC: 2})),
        frames.encode(frames.PING, frames.ACK, 0, bytes(8)),
        headers(1),
        reset(1),
        reset(1),
        window_update(1, 5),
    )
    assert [type(event).__name__ for event in events] == ["Ready", "Ready", "HeadersReceived", "StreamReset"]
    assert engine.streams == 0


def test_pings_are_answered() -> None:
    engine, _ = serving(frames.encode(frames.PING, 0, 0, b"12345678"))
    assert engine.pinged
    engine.answer_pings()
    assert not engine.pinged
    assert frames.encode(frames.PING, frames.ACK, 0, b"12345678") in said(engine)


def test_goaway_is_told() -> None:
    _, events = serving(frames.encode(frames.GOAWAY, 0, 0, frames.encode_goaway(7, 2, "why")))
    assert events[-1] == GoneAway(7, 2)


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([data(1, b"x")], ErrorCode.PROTOCOL_ERROR),
        ([data(0, b"x")], ErrorCode.PROTOCOL_ERROR),
        ([headers(0)], ErrorCode.PROTOCOL_ERROR),
        ([headers(2)], ErrorCode.PROTOCOL_ERROR),
        ([headers(3), headers(1)], ErrorCode.PROTOCOL_ERROR),
        ([headers(1), headers(1)], ErrorCode.PROTOCOL_ERROR),
        ([headers(1, more=True), data(1, b"")], ErrorCode.PROTOCOL_ERROR),
        ([headers(1, more=True), frames.encode(frames.CONTINUATION, 4, 3, b"")], ErrorCode.PROTOCOL_ERROR),
        ([frames.encode(frames.CONTINUATION, 4, 1, b"")], ErrorCode.PROTOCOL_ERROR),
        ([frames.encode(frames.HEADERS, 4, 1, b"\xff\xff\xff\xff\xff\xff")], ErrorCode.COMPRESSION_ERROR),
        ([frames.encode(frames.HEADERS, 4, 1, b"\xbf")], ErrorCode.COMPRESSION_ERROR),
        ([frames.encode(frames.HEADERS, 4 | frames.PADDED, 1, b"\x05ab")], ErrorCode.PROTOCOL_ERROR),
        ([frames.encode(frames.HEADERS, 4 | frames.WITH_PRIORITY, 1, b"abc")], ErrorCode.FRAME_SIZE_ERROR),
        ([headers(1), data(1, b"", flags=frames.PADDED)], ErrorCode.PROTOCOL_ERROR),
        ([frames.encode(frames.PUSH_PROMISE, 4, 1, bytes(9))], ErrorCode.PROTOCOL_ERROR),
        ([frames.encode(frames.PING, 0, 0, bytes(7))], ErrorCode.FRAME_SIZE_ERROR),
        ([frames.encode(frames.PING, 0, 1, bytes(8))], ErrorCode.FRAME_SIZE_ERROR),
        ([frames.encode(frames.SETTINGS, 0, 1, b"")], ErrorCode.FRAME_SIZE_ERROR),
        ([frames.encode(frames.SETTINGS, 0, 0, bytes(5))], ErrorCode.FRAME_SIZE_ERROR),
        ([frames.encode(frames.SETTINGS, 1, 0, bytes(6))], ErrorCode.FRAME_SIZE_ERROR),
        ([frames.encode(frames.SETTINGS, 0, 0, bytes(6 * 65))], ErrorCode.ENHANCE_YOUR_CALM),
        ([settings(window=2**31)], ErrorCode.FLOW_CONTROL_ERROR),
        ([settings(frame=1)], ErrorCode.PROTOCOL_ERROR),
        ([settings(push=7)], ErrorCode.PROTOCOL_ERROR),
        ([window_update(0, 0)], ErrorCode.PROTOCOL_ERROR),
        ([window_update(5, 1)], ErrorCode.PROTOCOL_ERROR),
        ([window_update(0, 2**31 - 1)], ErrorCode.FLOW_CONTROL_ERROR),
        ([frames.encode(frames.WINDOW_UPDATE, 0, 0, bytes(3))], ErrorCode.FRAME_SIZE_ERROR),
        ([reset(1)], ErrorCode.PROTOCOL_ERROR),
        ([reset(0)], ErrorCode.PROTOCOL_ERROR),
        ([frames.encode(frames.RST_STREAM, 0, 1, bytes(5))], ErrorCode.FRAME_SIZE_ERROR),
        ([frames.encode(frames.PRIORITY, 0, 1, bytes(4))], ErrorCode.FRAME_SIZE_ERROR),
        ([frames.encode(frames.GOAWAY, 0, 0, bytes(7))], ErrorCode.FRAME_SIZE_ERROR),
        ([frames.encode_head(0xEE, 0, 0, limits.GRPC_FRAME + 1)], ErrorCode.FRAME_SIZE_ERROR),
        ([headers(1, [(b"x", b"y" * 70_000)])], ErrorCode.ENHANCE_YOUR_CALM),
        ([headers(1), data(1, b"x" * 600_000), data(1, b"x" * 600_000)], ErrorCode.FLOW_CONTROL_ERROR),
    ],
)
def test_violations(pieces: list[bytes], code: int) -> None:
    assert violation(*pieces) == code


@pytest.mark.parametrize(
    "start", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", PREFACE + headers(1)]
)
def test_wrong_beginnings(start: bytes) -> None:
    engine = Engine(client=False)
    engine.feed(start)
    with pytest.raises(ProtocolViolation):
        engine.events()
    assert frames.encode_head(frames.GOAWAY, 0, 0, 0)[3:] in said(engine)


def test_a_small_block_may_not_unfold_into_a_large_list() -> None:
    grow = b"\x40\x01a" + b"\x7f\xa1\x1e" + b"x" * 4000
    with pytest.raises(ProtocolViolation):
        serving(frames.encode(frames.HEADERS, 4, 1, grow + b"\xbe" * 40))


def test_a_streams_window_too_large_costs_the_stream() -> None:
    engine, events = serving(headers(1), window_update(1, 2**31 - 1))
    assert events[-1] == StreamReset(1, ErrorCode.FLOW_CONTROL_ERROR)
    assert engine.streams == 0


def test_windows_are_told_and_counted() -> None:
    engine, events = serving(headers(1), window_update(1, 10), window_update(0, 20))
    assert events[-2:] == [WindowOpened(1), WindowOpened(0)]
    assert engine.room(1) == (65_545, 65_555)


def test_late_data_of_a_reset_stream_is_counted_for_the_connection() -> None:
    engine, _ = serving(headers(1))
    engine.reset(1, ErrorCode.NO_ERROR)
    for _ in range(100):
        engine.feed(data(1, b"x" * 200_000))
        assert drain(engine) == []
    assert window_update(0, 1)[:9] in said(engine)


def test_sending_on_closed_streams_is_told() -> None:
    engine, _ = serving(headers(1), reset(1))
    with pytest.raises(StreamGone):
        engine.headers(1, b"\x88", end=False)
    with pytest.raises(StreamGone):
        engine.room(1)
    with pytest.raises(StreamGone):
        engine.end(1)
    engine.reset(1, 0)
    engine.consumed(1, 0)


def test_what_is_not_consumed_is_not_given_back() -> None:
    engine, _ = serving(headers(1), data(1, b"x" * 1_000_000))
    engine.take_output()
    engine.consumed(1, 1_000_000)
    assert window_update(1, 1_000_000) in said(engine)


def test_little_of_closed_streams_is_remembered() -> None:
    engine = Engine(client=False)
    engine.feed(HELLO)
    for number in range(1, 6001, 2):
        engine.feed(headers(number, end=True))
        drain(engine)
        engine.headers(number, b"\x88", end=True)
        engine.take_output()
    assert engine.streams == 0
    assert len(engine._states._h2._closed_streams) <= limits.GRPC_CLOSED_STREAMS
