"""Bytes over streams, against a client that behaves as containerd's Go library does."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import define, field

from tricorn import limits
from tricorn.api.grpc import stream_bytes
from tricorn.api.grpc.stream_bytes import DATA, WINDOW, ReceivedBytes, SentBytes
from tricorn.errors import Canceled, InvalidArgument, Unavailable
from tricorn.service.streams import MessageStream, StreamService

GO_WINDOW, GO_PIECE = 64 * 1024, 32 * 1024


@define
class Wire:
    """The two directions of a client's stream; `None` from the client ends its sending."""

    streams: StreamService
    to_server: trio.MemorySendChannel[Any]
    from_server: trio.MemoryReceiveChannel[Any]
    scope: trio.CancelScope = field(factory=trio.CancelScope)

    @property
    def stream(self) -> MessageStream:
        return self.streams.get("n", "s")


@asynccontextmanager
async def connected() -> AsyncIterator[Wire]:
    streams = StreamService()
    to_server, server_receives = trio.open_memory_channel[Any](100)  # a connection holds some, too
    server_sends, from_server = trio.open_memory_channel[Any](0)
    wire = Wire(streams, to_server, from_server)
    ready = trio.Event()

    async def opened() -> None:
        ready.set()

    async def receive() -> Any:
        try:
            return await server_receives.receive()
        except trio.EndOfChannel:
            return None

    async def serve() -> None:
        with wire.scope:
            await streams.serve("n", "s", opened=opened, send=server_sends.send, receive=receive)
        await server_sends.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with trio.fail_after(60):
            await ready.wait()
            yield wire
        nursery.cancel_scope.cancel()


@define
class GoReader:
    """core/transfer/streaming.ReceiveStream: grants a window when less than one is left, then reads."""

    wire: Wire
    data: bytearray = field(factory=bytearray)
    window: int = 0
    slow: float = 0.0
    over: trio.Event = field(factory=trio.Event)

    async def run(self) -> None:
        while True:
            if self.window < GO_WINDOW:
                await self.wire.to_server.send(WINDOW(update=GO_WINDOW))
                self.window += GO_WINDOW
            try:
                message = await self.wire.from_server.receive()
            except trio.EndOfChannel:
                self.over.set()
                return
            await trio.sleep(self.slow)
            self.data += message.data
            self.window -= len(message.data)
            assert self.window >= 0, "more was sent than was allowed"


@pytest.mark.parametrize(
    "size", [0, 1, 1000, 65535, 65536, 65537, 98304, 131072, 131073, 200_000, 1_048_576, 3_000_001]
)
@pytest.mark.parametrize("piece", [512, 1 << 20])
async def test_all_has_arrived_when_finish_returns(
    size: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_bytes, "_LAST_WORD", math.inf)  # the client's last update must come
    data = os.urandom(size)
    async with connected() as wire, trio.open_nursery() as nursery:
        reader = GoReader(wire)
        nursery.start_soon(reader.run)
        sent = SentBytes(wire.stream)
        for start in range(0, size, piece):
            await sent.write(memoryview(data)[start : start + piece])
        await sent.finish()
        assert bytes(reader.data) == data
        await reader.over.wait()


async def test_nothing_is_sent_unasked() -> None:
    async with connected() as wire, trio.open_nursery() as nursery:
        sent = SentBytes(wire.stream)
        nursery.start_soon(sent.write, bytes(300_000))
        with trio.move_on_after(0.2):
            await wire.from_server.receive()
            pytest.fail("data came without a window")
        await wire.to_server.send(WINDOW(update=1000))
        assert len((await wire.from_server.receive()).data) == 1000
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("message", [WINDOW(update=-5), DATA(data=b"x")])
async def test_what_is_no_window(message: Any) -> None:
    async with connected() as wire, trio.open_nursery() as nursery:
        nursery.start_soon(wire.to_server.send, message)
        with pytest.raises(InvalidArgument):
            await SentBytes(wire.stream).write(bytes(300_000))


async def test_a_reader_that_leaves() -> None:
    async with connected() as wire:
        sent = SentBytes(wire.stream)
        await wire.to_server.aclose()
        with pytest.raises(Unavailable, match="wants no more"):
            await sent.write(bytes(300_000))
        wire.scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
    with pytest.raises((Canceled, Unavailable)):
        await sent.write(bytes(300_000))


async def go_writer(wire: Wire, data: bytes) -> int:
    """core/transfer/streaming.SendStream: up to 32 KiB a message while the window lasts."""
    remaining = most = 0
    while data:
        while not remaining:
            update = await wire.from_server.receive()
            remaining += update.update
            most = max(most, remaining)
        piece = data[: min(GO_PIECE, remaining)]
        await wire.to_server.send(DATA(data=piece))
        data, remaining = data[len(piece) :], remaining - len(piece)
    await wire.to_server.aclose()
    return most


async def test_what_a_client_sends() -> None:
    data = os.urandom(5_000_003)
    windows: list[int] = []
    written = trio.Event()
    async with connected() as wire, trio.open_nursery() as nursery:

        async def write() -> None:
            windows.append(await go_writer(wire, data))
            written.set()
            async for _ in wire.from_server:
                pass

        nursery.start_soon(write)
        received = ReceivedBytes(wire.stream)
        parts = []
        while part := await received.receive():
            parts.append(part)
        assert b"".join(parts) == data
        await written.wait()
        assert windows[0] <= limits.STREAM_WINDOW
        nursery.cancel_scope.cancel()


async def test_a_writer_that_breaks_off() -> None:
    async with connected() as wire, trio.open_nursery() as nursery:

        async def half() -> None:
            await wire.from_server.receive()
            await wire.to_server.send(DATA(data=b"half"))
            wire.scope.cancel()

        nursery.start_soon(half)
        received = ReceivedBytes(wire.stream)
        with pytest.raises(Canceled):
            while await received.receive():
                pass


async def test_other_messages() -> None:
    async with connected() as wire, trio.open_nursery() as nursery:

        async def wrong() -> None:
            await wire.from_server.receive()
            await wire.to_server.send(WINDOW(update=5))

        nursery.start_soon(wrong)
        with pytest.raises(InvalidArgument):
            await ReceivedBytes(wire.stream).receive()
