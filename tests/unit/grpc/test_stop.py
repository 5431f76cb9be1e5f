"""The server's stop: new calls refused, calls under way finished, then cut off."""

from __future__ import annotations

import pytest
import trio

from tricorn.grpc import Code, GrpcChannel, GrpcServer, RpcError, Status, frames, open_channel
from tricorn_testing.grpc_calls import HELLO, Blob, Door, Handlers, RawClient, eventually, open_door, unary


class Asked:
    """A call of which the answer is awaited by a task."""

    def __init__(self) -> None:
        self.answer: Blob | None = None
        self.status: Status | None = None

    async def ask(self, channel: GrpcChannel, path: str, data: bytes = b"") -> None:
        try:
            async with channel.stream(path, Blob) as call:
                await call.send(Blob(data), end=True)
                self.answer = await call.receive()
                await call.finish()
        except RpcError as error:
            self.status = error.status


async def test_idle_connections_close_at_once(channel: GrpcChannel, server: GrpcServer) -> None:
    await channel.unary("/t.T/Echo", Blob(), Blob)
    server.drain()
    await eventually(lambda: server.statistics()["connections"] == 0)
    with pytest.raises(RpcError, match="UNAVAILABLE"):
        await channel.unary("/t.T/Echo", Blob(), Blob)
    assert channel.lost


async def test_calls_under_way_are_finished(
    channel: GrpcChannel, server: GrpcServer, handlers: Handlers
) -> None:
    asked = Asked()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, channel, "/t.T/Stall")
        await eventually(lambda: handlers.seen)
        server.drain()
        await eventually(lambda: channel.lost)
        with pytest.raises(RpcError, match="no more calls"):
            await channel.unary("/t.T/Echo", Blob(), Blob)
        assert asked.status is None
        handlers.release.set()
    assert asked.answer == Blob(b"first")
    assert asked.status is None
    await eventually(lambda: server.statistics()["connections"] == 0)


async def test_endless_calls_are_cut_off(
    channel: GrpcChannel, server: GrpcServer, handlers: Handlers
) -> None:
    asked = Asked()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, channel, "/t.T/Endless")
        await eventually(lambda: handlers.seen)
        server.drain()
    assert asked.status == Status(Code.UNAVAILABLE, "server is shutting down")
    assert handlers.seen == ["endless began", "endless cancelled"]


async def test_abort_tells_the_clients(channel: GrpcChannel, server: GrpcServer, handlers: Handlers) -> None:
    calls = [Asked() for _ in range(20)]
    async with trio.open_nursery() as nursery:
        for asked in calls:
            nursery.start_soon(asked.ask, channel, "/t.T/Sleep")
        await eventually(lambda: len(handlers.seen) == 20)
        server.drain()
        server.abort()
    assert {asked.status for asked in calls} == {Status(Code.UNAVAILABLE, "server is shutting down")}
    await eventually(lambda: server.statistics()["connections"] == 0)


async def test_abort_reaches_an_answer_that_waits_for_its_reader(
    door: Door, server: GrpcServer, handlers: Handlers
) -> None:
    async with await door.connect() as stream:
        client = RawClient(stream)
        await client.send(HELLO + unary(1, b"5000000", b"/t.T/Big"))
        await client.until(frames.DATA)
        server.abort()
        trailers = None
        while (frame := await client.until(frames.HEADERS)) is not None:
            trailers = frame
    assert trailers is not None
    assert trailers.flags & frames.END_STREAM
    assert client.fields(trailers)["grpc-status"] == "14"


async def test_connections_that_come_late_are_sent_away(door: Door, server: GrpcServer) -> None:
    server.drain()
    async with open_channel(await door.connect()) as channel:
        with pytest.raises(RpcError, match="UNAVAILABLE"):
            await channel.unary("/t.T/Echo", Blob(), Blob)


async def test_shed_closes_the_longest_idle(door: Door, server: GrpcServer, handlers: Handlers) -> None:
    asked = Asked()
    async with (
        open_channel(await door.connect()) as busy,
        open_channel(await door.connect()) as old,
        open_channel(await door.connect()) as young,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(asked.ask, busy, "/t.T/Sleep")
        await old.unary("/t.T/Echo", Blob(), Blob)
        await trio.sleep(0.01)
        await young.unary("/t.T/Echo", Blob(), Blob)
        await eventually(lambda: handlers.seen)
        assert server.shed()
        await eventually(lambda: old.lost)
        assert not young.lost
        assert server.shed()
        await eventually(lambda: young.lost)
        assert not server.shed()
        assert not busy.lost
        nursery.cancel_scope.cancel()


async def test_cancelling_the_server_leaves_nothing(server: GrpcServer, handlers: Handlers) -> None:
    asked = Asked()
    async with trio.open_nursery() as nursery, open_door(server) as door:
        nursery.start_soon(_ask_alone, asked, await door.connect())
        await eventually(lambda: handlers.seen)
    assert handlers.seen == ["sleep began", "sleep cancelled"]
    assert server.statistics()["connections"] == 0
    assert asked.status == Status(Code.UNAVAILABLE, "the connection is lost")


async def _ask_alone(asked: Asked, stream: trio.abc.Stream) -> None:
    async with open_channel(stream) as channel:
        await asked.ask(channel, "/t.T/Sleep")
