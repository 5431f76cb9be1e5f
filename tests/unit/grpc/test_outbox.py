"""What is to be sent arrives whole and in order, and never makes its sender wait."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
import trio.testing

from tricorn import limits
from tricorn.grpc.outbox import Outbox

Reader = Callable[[int], Awaitable[bytes]]


class Pair:
    """An outbox, and the other end of its stream."""

    def __init__(self, ours: trio.abc.Stream, theirs: trio.abc.Stream) -> None:
        self.outbox = Outbox(ours)
        self.ours = ours
        self.theirs = theirs

    async def read(self, size: int) -> bytes:
        data = b""
        with trio.fail_after(30):
            while len(data) < size:
                data += bytes(await self.theirs.receive_some(size - len(data)))
        return data


@pytest.fixture(params=["socket", "memory"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    if request.param == "memory":
        yield Pair(*trio.testing.memory_stream_pair())
        return
    ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in socket.socketpair())
    async with ours, theirs:
        yield Pair(ours, theirs)


async def test_bytes_arrive_in_order(pair: Pair, nursery: trio.Nursery) -> None:
    nursery.start_soon(pair.outbox.run)
    expected = b""
    for number in range(200):
        parts = [bytes((number,)) * (number * 37), b"", memoryview(b"%d" % number)]
        expected += b"".join(parts)
        pair.outbox.send(parts)
    assert await pair.read(len(expected)) == expected
    await pair.outbox.flush()
    assert pair.outbox.empty
    assert not pair.outbox.full
    nursery.cancel_scope.cancel()


async def test_sending_never_waits(pair: Pair, nursery: trio.Nursery) -> None:
    data = bytes(range(256)) * 16_384
    pair.outbox.send([data, data])  # far more than a socket holds, and nobody reads
    assert pair.outbox.full
    assert pair.outbox.flooded
    nursery.start_soon(pair.outbox.run)
    nursery.start_soon(pair.outbox.wait_room)
    nursery.start_soon(pair.outbox.wait_room)
    assert await pair.read(2 * len(data)) == data + data
    await pair.outbox.wait_room()
    pair.outbox.pass_on()
    await pair.outbox.flush()
    nursery.cancel_scope.cancel()


async def test_more_parts_than_one_call_of_the_kernel_takes(pair: Pair, nursery: trio.Nursery) -> None:
    nursery.start_soon(pair.outbox.run)
    parts = [b"%05d" % number + b"x" * 100 for number in range(3000)]
    pair.outbox.send(list(parts))
    assert await pair.read(105 * 3000) == b"".join(parts)
    nursery.cancel_scope.cancel()


async def test_waiters_are_let_in_one_after_the_other(pair: Pair, nursery: trio.Nursery) -> None:
    """All that wait send again what makes the next wait: never more is queued than one of them adds."""
    piece = bytes(limits.GRPC_OUTBOX)
    most = 0

    async def send() -> None:
        nonlocal most
        await pair.outbox.wait_room()
        pair.outbox.send([piece])
        most = max(most, pair.outbox._size)
        pair.outbox.pass_on()

    pair.outbox.send([piece, piece])
    for _ in range(20):
        nursery.start_soon(send)
    nursery.start_soon(pair.outbox.run)
    await pair.read(22 * len(piece))
    assert most < 2 * limits.GRPC_OUTBOX
    nursery.cancel_scope.cancel()


async def test_who_is_gone_is_told_once(pair: Pair) -> None:
    await pair.theirs.aclose()
    with pytest.RaisesGroup(trio.BrokenResourceError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.outbox.run)
            pair.outbox.send([b"lost"])
    pair.outbox.send([b"nobody minds"])
