"""Clients that break, bend or flood the protocol, by raw bytes on a real socket: each costs its own connection
at most. Another client is answered all the while, and memory stays flat.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tricorn import limits
from tricorn.grpc import GrpcServer, frames, hpack_literals, open_channel
from tricorn.grpc.events import ErrorCode
from tricorn_testing.grpc_calls import (
    HELLO,
    PREFACE,
    Blob,
    Door,
    Handlers,
    RawClient,
    data,
    eventually,
    headers,
    message,
    open_door,
    request_fields,
    reset,
    settings,
    translate,
    unary,
    window_update,
)

MEMORY = 48 * limits.MIB  # what a hostile case may leave behind, pages of the allocator included
ROUNDS = 2000


def resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
async def door(handlers: Handlers, short_path: Path) -> AsyncIterator[Door]:
    """A server that must answer somebody else, and be as small, after the test as before."""
    server = GrpcServer(handlers.methods(), translate=translate)
    async with open_door(server, short_path) as door:
        assert door.path is not None
        async with open_channel(door.path) as other:
            await other.unary("/t.T/Echo", Blob(b"x"), Blob)
            before = resident()
            yield door
            with trio.fail_after(30):
                assert await other.unary("/t.T/Echo", Blob(b"still here"), Blob) == Blob(b"still here")
            await eventually(lambda: server.statistics()["connections"] == 1)
            assert server.statistics()["calls_open"] == 0
            if resident() - before >= MEMORY:
                gc.collect()
            assert resident() - before < MEMORY


async def converse(door: Door, *pieces: bytes) -> RawClient:
    """Send as long as the server listens, while reading what it says; return the client at its end."""
    async with await door.connect() as stream, trio.open_nursery() as nursery:
        client = RawClient(stream)
        client.code = -1  # type: ignore[attr-defined]

        async def read() -> None:
            client.code = await client.goaway()  # type: ignore[attr-defined]
            nursery.cancel_scope.cancel()

        nursery.start_soon(read)
        for piece in pieces:
            if not await client.send(piece):
                await trio.sleep_forever()  # until the reader has come to the end
        await client.stream.send_eof()
        await trio.sleep_forever()
    return client


async def code_of(door: Door, *pieces: bytes) -> int:
    client = await converse(door, *pieces)
    return int(client.code)  # type: ignore[attr-defined]


CALM = ErrorCode.ENHANCE_YOUR_CALM
BREACHES = {
    "garbage": (b"PRI * HTTP/2.0\r\n\r\ngarbage",),
    "no settings": (PREFACE, headers(1)),
    "huge frame": (HELLO, frames.encode_head(frames.DATA, 0, 1, 2**24 - 1)),
    "huge unknown frame": (HELLO, frames.encode_head(0xEE, 0, 0, limits.GRPC_FRAME + 1)),
    "data without headers": (HELLO, data(1, b"x")),
    "data after the end": (HELLO, unary(1), data(1, b"more"), data(3, b"x")),
    "naked continuation": (HELLO, frames.encode(frames.CONTINUATION, 4, 1, b"")),
    "torn header block": (HELLO, headers(1, more=True), unary(3)),
    "bad hpack": (HELLO, frames.encode(frames.HEADERS, 4, 1, b"\xff\xff\xff\xff\xff\xff\xff")),
    "bad index": (HELLO, frames.encode(frames.HEADERS, 4, 1, b"\xfe")),
    "header list too large": (HELLO, headers(1, [(b"x", b"y" * 70_000)])),
    "padding": (HELLO, headers(1), data(1, b"\xffabc", flags=frames.PADDED)),
    "window overflow": (HELLO, window_update(0, 2**31 - 1)),
    "window of nothing": (HELLO, window_update(0, 0)),
    "stream window overflow, then wrong data": (
        HELLO,
        headers(1),
        window_update(1, 2**31 - 1),
        data(9, b"x"),
    ),
    "too much data": (HELLO, headers(1, request_fields(b"/t.T/Deaf")), data(1, b"x" * 1_000_000) * 2),
    "settings out of range": (HELLO, settings(window=2**32 - 1)),
    "settings by the thousand": (HELLO, frames.encode(frames.SETTINGS, 0, 0, bytes(6) * 10_000)),
    "push": (HELLO, frames.encode(frames.PUSH_PROMISE, 4, 1, bytes(20))),
    "even stream": (HELLO, headers(2)),
    "older stream": (HELLO, unary(9), unary(5)),
    "reset of nothing": (HELLO, reset(77)),
    "stream 0": (HELLO, headers(0)),
    "second preface": (HELLO, PREFACE),
}


@pytest.mark.parametrize("name", BREACHES)
async def test_breaches_end_in_goaway(door: Door, name: str) -> None:
    assert await code_of(door, *BREACHES[name]) > 0


@pytest.mark.parametrize("name", BREACHES)
async def test_breaches_cut_in_bytes(door: Door, name: str) -> None:
    wire = b"".join(BREACHES[name])[:3000]
    await converse(door, *(wire[index : index + 1] for index in range(len(wire))))


async def test_frames_cut_anywhere_by_the_clients_end(door: Door) -> None:
    wire = HELLO + unary(1) + headers(3) + data(3, message(b"x")) + reset(3) + window_update(0, 9)
    for cut in range(1, len(wire), 3):
        await converse(door, wire[:cut])


# ---------------------------------------------------------------- floods
FLOODS = {
    "ping": frames.encode(frames.PING, 0, 0, bytes(8)),
    "settings": settings(window=65_535),
    "empty settings": settings(),
    "settings ack": frames.encode(frames.SETTINGS, 1, 0, b""),
    "priority": frames.encode(frames.PRIORITY, 0, 3, bytes(5)),
    "window": window_update(0, 1),
    "stream window": window_update(1, 1),
    "empty data": data(1, b""),
    "padded empty data": data(1, b"\x00", flags=frames.PADDED),
    "tiny data": data(1, b"\x00"),
    "unknown": frames.encode(0x99, 0, 0, b"abc"),
    "large unknown": frames.encode(0x99, 0, 0, bytes(10_000)),
    "goaway": frames.encode(frames.GOAWAY, 0, 0, bytes(8)),
    "late resets": reset(3),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_floods_are_cut_off(door: Door, name: str) -> None:
    start = (
        HELLO + headers(1, request_fields(b"/t.T/Deaf")) + headers(3, request_fields(b"/t.T/Deaf")) + reset(3)
    )
    assert await code_of(door, start, *[FLOODS[name] * 100] * ROUNDS) == CALM


async def test_rapid_reset(door: Door, handlers: Handlers) -> None:
    sleeper = request_fields(b"/t.T/Sleep")
    pieces = [headers(number, sleeper) + reset(number) for number in range(1, 10_000, 2)]
    assert await code_of(door, HELLO, *pieces) == CALM


async def test_resets_that_the_server_is_driven_to(door: Door) -> None:
    """CVE-2025-8671: streams that their client makes the server reset."""
    sleeper = request_fields(b"/t.T/Sleep")
    pieces = [headers(number, sleeper) + window_update(number, 2**31 - 1) for number in range(1, 10_000, 2)]
    assert await code_of(door, HELLO, *pieces) == CALM


@pytest.mark.parametrize("payload", [b"", b"\x20", b"\x00\x01x\x00"])
async def test_continuation_floods(door: Door, payload: bytes) -> None:
    """CVE-2024-27316: a header list without an end."""
    pieces = [frames.encode(frames.CONTINUATION, 0, 1, payload)] * 20_000
    assert await code_of(door, HELLO, headers(1, more=True), *pieces) == CALM


async def test_large_header_lists_one_after_the_other(door: Door) -> None:
    fields = [*request_fields(), *[(b"x", b"y" * 1000)] * 50]
    pieces = [headers(number, fields, end=True) for number in range(1, 2000, 2)]
    await converse(door, HELLO, *pieces)


async def test_a_small_block_that_unfolds(door: Door) -> None:
    """CVE-2016-6581: a large entry of the table, named again and again."""
    grow = hpack_literals.literal(b"x", b"y" * 3900).replace(b"\x00", b"\x40", 1)
    assert await code_of(door, HELLO, frames.encode(frames.HEADERS, 4, 1, grow + b"\xbe" * 4000)) == CALM


async def test_answers_that_nobody_reads(door: Door) -> None:
    """CVE-2019-9512, 9515: replies pile up for a client that only writes."""
    async with await door.connect() as stream:
        client = RawClient(stream)
        with trio.move_on_after(0.5):
            await client.send(HELLO)
            while await client.send(
                frames.encode(frames.PING, 0, 0, bytes(8)) * 100 + b"".join([settings()] * 3)
            ):
                pass


@pytest.mark.parametrize("window", [0, 2**31 - 1])
async def test_many_answers_that_nobody_reads(
    door: Door, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(limits, "GRPC_UNSENT", 8 * limits.MIB)
    async with await door.connect() as stream:
        client = RawClient(stream)
        await client.send(PREFACE + settings(window=window) + window_update(0, 2**31 - 65_536))
        await client.send(b"".join(unary(number, b"1000000", b"/t.T/Big") for number in range(1, 100, 2)))
        with trio.move_on_after(0.5):  # more than are let in
            for number in range(101, 2000, 2):
                await client.send(unary(number, b"1000000", b"/t.T/Big"))
        seen = set()
        while "8" not in seen:
            frame = await client.expect(frames.HEADERS)
            seen.add(client.fields(frame).get("grpc-status"))


async def test_windows_opened_byte_by_byte(door: Door) -> None:
    """CVE-2019-9511, 9517: much is asked for, and taken in drops."""
    async with await door.connect() as stream, trio.open_nursery() as nursery:
        client = RawClient(stream)
        await client.send(PREFACE + settings(window=1))
        for number in range(1, 200, 2):
            await client.send(unary(number, b"1000000", b"/t.T/Big"))

        async def drip() -> None:
            for _ in range(2000):
                for number in range(1, 200, 2):
                    if not await client.send(window_update(number, 1) + window_update(0, 1)):
                        return

        nursery.start_soon(drip)
        assert await client.goaway() in {CALM, -1}


async def test_windows_that_jump(door: Door) -> None:
    pieces = [settings(window=2**31 - 1), settings(window=0)]
    numbers = range(1, 400, 2)
    start = (
        PREFACE + settings(window=0) + b"".join(unary(number, b"100000", b"/t.T/Big") for number in numbers)
    )
    assert await code_of(door, start, *pieces * ROUNDS) == CALM


# ---------------------------------------------------------------- requests
REFUSED = {
    "no path": [(b":method", b"POST"), (b":scheme", b"http")],
    "nothing": [],
    "twice": [*request_fields(), (b":path", b"/late")],
    "unknown pseudo header": [(b":what", b"x"), *request_fields()],
    "name not utf-8": [*request_fields(), (b"\xff\xfe", b"x")],
    "name in upper case": [*request_fields(), (b"X-Y", b"x")],
    "empty name": [*request_fields(), (b"", b"x")],
    "line break in a value": [*request_fields(), (b"x", b"a\r\nb")],
    "connection header": [*request_fields(), (b"connection", b"upgrade")],
}


@pytest.mark.parametrize("name", REFUSED)
async def test_malformed_requests_cost_their_stream(door: Door, name: str) -> None:
    async with await door.connect() as stream:
        client = RawClient(stream)
        await client.send(HELLO + headers(1, REFUSED[name]) + unary(3))
        frame = await client.expect(frames.RST_STREAM)
        assert (frame.stream, frames.word_of(frame)) == (1, ErrorCode.PROTOCOL_ERROR)
        assert (await client.expect(frames.DATA)).payload == message(b"hello")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (request_fields(b"/\xff\xfe/\xc3"), {":status": "200", "grpc-status": "12"}),
        (request_fields(b""), {":status": "200", "grpc-status": "12"}),
        (request_fields(b"/" + b"x" * 5000), {":status": "200", "grpc-status": "12"}),
        (request_fields()[:4], {":status": "415"}),
        ([*request_fields()[:4], (b"content-type", b"text/html")], {":status": "415"}),
        ([*request_fields()[:4], (b"content-type", b"application/grpcx")], {":status": "415"}),
        ([(b":method", b"GET"), *request_fields()[1:]], {":status": "405"}),
        (request_fields(b"/t.T/Echo", (b"grpc-timeout", b"soon")), {":status": "200", "grpc-status": "13"}),
        (request_fields(b"/t.T/Echo", (b"grpc-timeout", b"0n")), {":status": "200", "grpc-status": "4"}),
        (request_fields(b"/t.T/Echo", (b"grpc-encoding", b"gzip")), {":status": "200", "grpc-status": "12"}),
        (request_fields(b"/t.T/Echo", (b"x-bin", b"?")), {":status": "200", "grpc-status": "13"}),
    ],
)
async def test_requests_that_are_answered_with_less(
    door: Door, fields: list[tuple[bytes, bytes]], expected: dict[str, str]
) -> None:
    async with await door.connect() as stream:
        client = RawClient(stream)
        await client.send(HELLO + headers(1, fields))
        frame = await client.expect(frames.HEADERS)
        assert frame.flags & frames.END_STREAM
        assert client.fields(frame).items() >= expected.items()
        frame = await client.expect(frames.RST_STREAM)
        assert frames.word_of(frame) == ErrorCode.NO_ERROR
        await client.send(data(1, message(b"late"), end=True) + unary(3))
        assert (await client.expect(frames.DATA)).stream == 3


async def test_an_upload_after_an_early_answer(door: Door) -> None:
    async with await door.connect() as stream, trio.open_nursery() as nursery:
        client = RawClient(stream)

        async def upload() -> None:
            await client.send(HELLO + headers(1, request_fields(b"/no/such")))
            for _ in range(500):
                await client.send(data(1, b"x" * 100_000))
            await client.send(unary(3))

        nursery.start_soon(upload)
        assert (await client.expect(frames.DATA)).stream == 3


async def test_streams_beyond_the_limit_are_refused(
    door: Door, handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GRPC_STREAMS", 50)
    async with await door.connect() as stream:
        client = RawClient(stream)
        sleeper = request_fields(b"/t.T/Sleep")
        await client.send(
            HELLO + b"".join(headers(n, sleeper) + data(n, message(b"")) for n in range(1, 102, 2))
        )
        frame = await client.expect(frames.RST_STREAM)
        assert (frame.stream, frames.word_of(frame)) == (101, ErrorCode.REFUSED_STREAM)
        await eventually(lambda: len(handlers.seen) == 50)


async def test_a_message_that_is_announced_and_never_comes(door: Door) -> None:
    async with await door.connect() as stream:
        client = RawClient(stream)
        head = message(b"x" * 1000)[:5]
        await client.send(
            HELLO + b"".join(headers(n) + data(n, head) for n in range(1, 2000, 2)) + unary(2001)
        )
        assert (await client.expect(frames.DATA)).stream == 2001


async def test_connections_that_say_nothing_more(door: Door) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(converse, door, HELLO + headers(1))


async def test_a_thousand_idle_streams_are_small(door: Door, handlers: Handlers) -> None:
    before = resident()
    async with await door.connect() as stream:
        client = RawClient(stream)
        sleeper = request_fields(b"/t.T/Sleep")
        await client.send(HELLO)
        for number in range(1, 2001, 2):
            await client.send(headers(number, sleeper) + data(number, message(b""), end=True))
        await eventually(lambda: len(handlers.seen) == 1000)
        assert resident() - before < 40 * limits.MIB
