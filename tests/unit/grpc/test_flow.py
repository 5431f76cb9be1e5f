"""Flow control: who doesn't read holds up nobody else, and costs no more than the windows."""

from __future__ import annotations

import pytest
import trio

from tricorn import limits
from tricorn.grpc import Code, GrpcChannel, GrpcServer, RpcError, frames, open_channel
from tricorn.grpc.server_connection import ServerConnection
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
    request_fields,
    reset,
    settings,
    unary,
    window_update,
)


def connection_of(server: GrpcServer) -> ServerConnection:
    (connection,) = server._connections
    return connection


async def test_a_client_that_does_not_read_holds_up_its_own_stream_only(
    channel: GrpcChannel, server: GrpcServer, handlers: Handlers
) -> None:
    async with channel.stream("/t.T/Count", Blob) as slow:
        await slow.send(Blob(b"1000 100000"), end=True)
        await eventually(lambda: handlers.seen)
        for _ in range(20):
            assert await channel.unary("/t.T/Echo", Blob(b"x" * 10_000), Blob) == Blob(b"x" * 10_000)
        assert len(handlers.seen) * 100_000 <= limits.GRPC_STREAM_WINDOW + limits.GRPC_OUTBOX + 200_000
        received = 0
        while (answer := await slow.receive()) is not None:
            received += len(answer.data)
        assert received == 100_000_000


async def test_a_handler_that_does_not_read_holds_back_its_client(
    channel: GrpcChannel, server: GrpcServer, handlers: Handlers
) -> None:
    sent = 0

    async def upload() -> None:
        nonlocal sent
        async with channel.stream("/t.T/Deaf", Blob) as call:
            while True:
                await call.send(Blob(b"x" * 100_000))
                sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(upload)
        await eventually(lambda: sent >= 9)
        for _ in range(20):
            await channel.unary("/t.T/Echo", Blob(b"x" * 10_000), Blob)
        assert sent * 100_000 <= limits.GRPC_STREAM_WINDOW + 100_000
        nursery.cancel_scope.cancel()
    # what the handler left unread goes back to the connection: this takes several of its windows
    async with channel.stream("/t.T/Sum", Blob) as call:
        for _ in range(40):
            await call.send(Blob(b"x" * 1_000_000))
        call.close_send()
        assert await call.receive() == Blob(b"40000000")


async def test_windows_of_one_byte(door: Door) -> None:
    async with await door.connect() as stream:
        client = RawClient(stream)
        await client.send(PREFACE + settings(window=1) + unary(1, b"tiny"))
        received = b""
        while len(received) < 9:
            frame = await client.expect(frames.DATA)
            assert len(frame.payload) == 1
            received += frame.payload
            await client.send(window_update(1, 1))
        assert received == message(b"tiny")
        assert await client.until(frames.HEADERS) is not None


async def test_a_window_that_shrinks_below_nothing(door: Door) -> None:
    async with await door.connect() as stream:
        client = RawClient(stream)
        await client.send(PREFACE + settings(window=100) + unary(1, b"x" * 150))
        frame = await client.expect(frames.DATA)
        assert len(frame.payload) == 100
        await client.send(settings(window=10) + unary(3, b"y"))
        frame = await client.expect(frames.DATA)
        assert frame.stream == 3
        await client.send(window_update(1, 90) + window_update(1, 56))
        received = 0
        while received < 55:
            frame = await client.expect(frames.DATA)
            received += len(frame.payload)
        frame = await client.expect(frames.HEADERS)
        assert frame.flags & frames.END_STREAM


async def test_the_connection_window_is_shared_fairly(door: Door) -> None:
    """Streams that wait for the connection's window all get their turn."""
    async with await door.connect() as stream:
        client = RawClient(stream)
        calls = [1, 3, 5, 7, 9]
        await client.send(PREFACE + settings(window=2**31 - 1))
        for number in calls:
            await client.send(unary(number, b"60000", b"/t.T/Big"))
        received = dict.fromkeys(calls, 0)
        while sum(received.values()) < 5 * 60_005:
            frame = await client.expect(frames.DATA)
            received[frame.stream] += len(frame.payload)
            await client.send(window_update(0, len(frame.payload) or 1))
        assert set(received.values()) == {60_005}


async def test_cancelled_waiters_pass_the_window_on(door: Door) -> None:
    async with await door.connect() as stream:
        client = RawClient(stream)
        await client.send(PREFACE + settings(window=2**31 - 1))
        await client.send(b"".join(unary(number, b"100000", b"/t.T/Big") for number in (1, 3, 5)))
        received = 0
        while received < 65_535:
            frame = await client.expect(frames.DATA)
            received += len(frame.payload)
        await client.send(window_update(0, 1) + reset(1) + reset(3) + window_update(0, 1_000_000))
        while (frame := await client.until(frames.HEADERS)) is not None:
            if frame.flags & frames.END_STREAM:
                break
        assert frame is not None
        assert frame.stream == 5


async def test_a_message_larger_than_the_window_comes_through(door: Door) -> None:
    async with await door.connect() as stream, trio.open_nursery() as nursery:
        client = RawClient(stream)
        await client.send(HELLO + headers(1, request_fields(b"/t.T/Sum")))
        wire = message(b"x" * 3_000_000)

        async def upload() -> None:
            for start in range(0, len(wire), 16_384):
                await client.send(data(1, wire[start : start + 16_384], end=start + 16_384 >= len(wire)))

        nursery.start_soon(upload)
        opened = 0
        while (frame := await client.until(frames.WINDOW_UPDATE, frames.DATA)) is not None:
            if frame.kind == frames.DATA:
                break
            opened += frames.word_of(frame) if frame.stream == 1 else 0
        assert frame is not None
        assert frame.payload == message(b"3000000")
        assert opened >= 3_000_000 - limits.GRPC_STREAM_WINDOW


async def test_unfinished_messages_of_a_connection_are_bounded(
    door: Door, server: GrpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GRPC_UNFINISHED", 1_000_000)
    async with await door.connect() as stream, trio.open_nursery() as nursery:
        client = RawClient(stream)
        numbers = range(1, 41, 2)
        await client.send(HELLO + b"".join(headers(number) for number in numbers))
        head = message(b"x" * 500_000)[:5]

        async def upload() -> None:
            await client.send(b"".join(data(number, head) for number in numbers))
            for _ in range(6):
                for number in numbers:
                    await client.send(data(number, b"x" * 16_000))

        nursery.start_soon(upload)
        frame = await client.expect(frames.HEADERS)
        assert client.fields(frame)["grpc-status"] == str(int(Code.RESOURCE_EXHAUSTED))
        assert connection_of(server).unfinished <= 1_000_000
        nursery.cancel_scope.cancel()


async def test_a_torn_message_is_not_passed_off_as_whole(door: Door, handlers: Handlers) -> None:
    async with await door.connect() as stream:
        client = RawClient(stream)
        await client.send(HELLO + headers(1, request_fields(b"/t.T/Torn"), end=True))
        trailers = None
        while (frame := await client.until(frames.HEADERS)) is not None:
            trailers = client.fields(frame)
            if frame.flags & frames.END_STREAM:
                break
        assert trailers is not None
        assert trailers["grpc-status"] == str(int(Code.INTERNAL))
    assert handlers.seen == ["refused to go on"]


async def test_the_servers_limit_of_streams_makes_callers_wait(
    door: Door, handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GRPC_STREAMS", 3)
    async with open_channel(await door.connect()) as channel, trio.open_nursery() as nursery:
        await channel.unary("/t.T/Echo", Blob(), Blob)
        for _ in range(8):
            nursery.start_soon(_quietly, channel, "/t.T/Sleep")
        await eventually(lambda: len(handlers.seen) == 3)
        with pytest.raises(RpcError, match="DEADLINE"):
            await channel.unary("/t.T/Echo", Blob(), Blob, timeout=0.05)
        handlers.release.set()
        await eventually(lambda: len(handlers.seen) == 8)


async def _quietly(channel: GrpcChannel, path: str) -> None:
    with pytest.raises(RpcError):
        await channel.unary(path, Blob(), Blob)
