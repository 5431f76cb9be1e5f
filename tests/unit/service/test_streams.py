"""Streams between clients and what works for them: found by id, bounded, gone with their connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import define, field

from tricorn import limits
from tricorn.errors import AlreadyExists, Canceled, InvalidArgument, NotFound, ResourceExhausted
from tricorn.rules.reach import Kind, Node
from tricorn.service.streams import MessageStream, StreamService


@define
class Client:
    """The client's end: what it sends, what it got."""

    to_server: trio.MemorySendChannel[Any]
    got: list[Any] = field(factory=list)
    opened: trio.Event = field(factory=trio.Event)
    ended: trio.Event = field(factory=trio.Event)
    scope: trio.CancelScope = field(factory=trio.CancelScope)


async def begin(
    nursery: trio.Nursery, streams: StreamService, name: str = "s", ns: str = "n", lease: str = ""
) -> Client:
    send, receive = trio.open_memory_channel[Any](0)
    client = Client(send)

    async def next_message() -> Any:
        try:
            return await receive.receive()
        except trio.EndOfChannel:
            return None

    async def opened() -> None:
        client.opened.set()

    async def take(message: Any) -> None:
        client.got.append(message)

    async def serve() -> None:
        with client.scope:
            await streams.serve(ns, name, lease=lease, opened=opened, send=take, receive=next_message)
        client.ended.set()

    nursery.start_soon(serve)
    with trio.fail_after(60):
        await client.opened.wait()
    return client


@asynccontextmanager
async def one() -> AsyncIterator[tuple[StreamService, Client, MessageStream]]:
    streams = StreamService()
    async with trio.open_nursery() as nursery:
        client = await begin(nursery, streams)
        with trio.fail_after(60):
            yield streams, client, streams.get("n", "s")
        nursery.cancel_scope.cancel()


async def test_messages_both_ways_and_the_end() -> None:
    async with one() as (streams, client, stream):
        await client.to_server.send("hello")
        assert await stream.receive() == "hello"
        for number in range(100):
            await stream.send(number)
        stream.close()
        await client.ended.wait()
        assert client.got == list(range(100))
        assert len(streams) == 0
        with pytest.raises(Canceled):
            await stream.send("late")
        with pytest.raises(Canceled):
            await stream.receive()


async def test_a_client_that_sends_no_more_still_listens() -> None:
    async with one() as (_, client, stream):
        await client.to_server.send(1)
        await client.to_server.aclose()
        assert await stream.receive() == 1
        assert await stream.receive() is None
        await stream.send("more")
        stream.close()
        await client.ended.wait()
        assert client.got == ["more"]


async def test_a_client_that_goes_is_no_end() -> None:
    """Who reads bytes must not take a broken connection for the end of them."""
    async with one() as (streams, client, stream):
        client.scope.cancel()
        await client.ended.wait()
        with pytest.raises(Canceled, match="went away"):
            await stream.receive()
        with pytest.raises(Canceled):
            await stream.send(1)
        with pytest.raises(NotFound):
            streams.get("n", "s")


async def test_names() -> None:
    streams = StreamService()
    async with trio.open_nursery() as nursery:
        await begin(nursery, streams, "a", "one")
        await begin(nursery, streams, "a", "two")
        with pytest.raises(NotFound):
            streams.get("one", "b")
        for name, error in (("a", AlreadyExists), ("", InvalidArgument), ("x" * 300, InvalidArgument)):
            with pytest.raises(error):
                await streams.serve("one", name, opened=never, send=never, receive=never)
        assert len(streams) == 2
        nursery.cancel_scope.cancel()
    assert len(streams) == 0


async def never(*_: object) -> None:
    raise AssertionError("this must not be called")


async def test_there_is_an_end_to_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAMS", 2)
    streams = StreamService()
    async with trio.open_nursery() as nursery:
        await begin(nursery, streams, "a")
        await begin(nursery, streams, "b")
        with pytest.raises(ResourceExhausted):
            await streams.serve("n", "c", opened=never, send=never, receive=never)
        nursery.cancel_scope.cancel()


async def test_a_client_cannot_pile_up_messages() -> None:
    async with one() as (_, client, stream):
        sent = 0
        with trio.move_on_after(0.5):
            for number in range(1000):
                await client.to_server.send(number)
                sent += 1
        assert sent < 100
        assert [await stream.receive() for _ in range(sent)] == list(range(sent))


async def test_the_collector_ends_what_its_lease_kept() -> None:
    streams = StreamService()
    async with trio.open_nursery() as nursery:
        leased = await begin(nursery, streams, "leased", lease="l")
        taken = await begin(nursery, streams, "taken", lease="l")
        free = await begin(nursery, streams, "free")
        streams.get("n", "taken").taken = True
        seen = {item.object.node.key: (item.lease, item.object.pinned) for item in streams.outside()}
        assert seen == {
            "leased": ("l", ""), "taken": ("l", "a process has it"), "free": ("", "its client has it open"),
        }  # fmt: skip
        await streams.collect(Node(Kind.STREAM, "n", "leased"))
        with trio.fail_after(60):
            await leased.ended.wait()
        await streams.collect(Node(Kind.STREAM, "n", "leased"))  # gone is gone
        assert {item.object.node.key for item in streams.outside()} == {"taken", "free"}
        assert not taken.ended.is_set()
        assert not free.ended.is_set()
        nursery.cancel_scope.cancel()
