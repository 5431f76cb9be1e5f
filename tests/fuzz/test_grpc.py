"""Arbitrary bytes and mutated conversations on the gRPC door: the server lives on, and nothing stays behind."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest
import structlog.testing
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tricorn.grpc import GrpcServer, RpcError, frames, hpack_literals, open_channel
from tricorn_testing import grpc_calls as calls
from tricorn_testing.grpc_calls import Blob, Handlers, translate

FRAMES = [
    calls.HELLO, calls.headers(1), calls.headers(3, end=True), calls.unary(5), calls.unary(7, b"5000", b"/t.T/Big"),
    calls.headers(9, calls.request_fields(b"/t.T/Chat")), calls.data(9, calls.message(b"hello")),
    calls.headers(11, calls.request_fields(b"/t.T/Sleep", (b"grpc-timeout", b"5S"))), calls.data(11, bytes(5)),
    calls.data(1, b"\x00\x00\x00\x00\x05he"), calls.data(1, b"llo", end=True), calls.reset(1), calls.reset(11),
    calls.settings(window=1), calls.settings(window=2**31 - 1), calls.settings(table=0, frame=16_384),
    calls.window_update(0, 1), calls.window_update(9, 2**31 - 1), calls.headers(13, more=True),
    frames.encode(frames.CONTINUATION, 4, 13, hpack_literals.literal(b"x", b"y")),
    frames.encode(frames.PING, 0, 0, b"12345678"), frames.encode(frames.PRIORITY, 0, 1, bytes(5)),
    frames.encode(frames.GOAWAY, 0, 0, bytes(8)), frames.encode(0xBE, 0xEF, 99, b"unknown"),
    frames.encode(frames.HEADERS, 5, 15, b"\x83\x86\x84\x41\x01l\x5f\x10application/grpc"),
    frames.encode(frames.DATA, 9, 5, b"\x02ab\x00\x00"), frames.encode(frames.SETTINGS, 1, 0, b""),
]  # fmt: skip
PIECES = st.lists(st.one_of(st.sampled_from(FRAMES), st.binary(max_size=40)), max_size=15)
SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


async def attack(wire: bytes, sizes: list[int], *, close: bool) -> None:
    """Send the bytes in pieces to a server of its own; check that all ends, and that it still answers."""
    server = GrpcServer(Handlers(quick=close).methods(), translate=translate)
    async with calls.open_door(server) as door:
        client = door.connect_memory()
        assert isinstance(client, trio.StapledStream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_drain, client)
            with trio.move_on_after(1):
                await _send(client, wire, sizes)
            await (client.aclose() if close else client.send_stream.aclose())
            with trio.fail_after(60):
                while server.statistics()["connections"]:  # noqa: ASYNC110 - seen from outside
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        assert server.statistics()["calls_open"] == 0
        async with open_channel(door.connect_memory()) as channel:
            assert await channel.unary("/t.T/Echo", Blob(b"x"), Blob) == Blob(b"x")


async def _send(client: trio.abc.SendStream, wire: bytes, sizes: list[int]) -> None:
    at = turn = 0
    while at < len(wire):
        size = sizes[turn % len(sizes)]
        try:
            await client.send_all(wire[at : at + size])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        at, turn = at + size, turn + 1


async def _drain(client: trio.abc.ReceiveStream) -> None:
    try:
        while await client.receive_some(65536):
            pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run with a clock that jumps; nothing may be logged as an error: those are mistakes of ours."""

    async def main() -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        await work()
        assert trio.lowlevel.current_statistics().tasks_living == before

    with structlog.testing.capture_logs() as logs:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


@given(PIECES, st.lists(st.integers(1, 300), min_size=1, max_size=4), st.booleans())
@SETTINGS
def test_fragments_in_any_order(pieces: list[bytes], sizes: list[int], close: bool) -> None:
    run(lambda: attack(calls.HELLO + b"".join(pieces), sizes, close=close))


@given(st.binary(max_size=300), st.booleans())
@SETTINGS
def test_any_bytes(data: bytes, hello: bool) -> None:
    run(lambda: attack((calls.HELLO if hello else b"") + data, [1000], close=True))


@given(st.integers(0, 12), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=60))
@SETTINGS
def test_any_frame(kind: int, flags: int, stream: int, payload: bytes) -> None:
    start = calls.HELLO + calls.headers(1) + calls.unary(3)
    run(
        lambda: attack(
            start + frames.encode(kind, flags, stream, payload) + calls.unary(7), [1000], close=False
        )
    )


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=5))
@SETTINGS
def test_any_headers(fields: list[tuple[bytes, bytes]]) -> None:
    wire = calls.HELLO + calls.headers(1, fields) + calls.headers(3, [*calls.request_fields(), *fields])
    run(lambda: attack(wire + calls.data(3, bytes(5), end=True), [1000], close=False))


@pytest.mark.parametrize("seed", range(60))
def test_mutated_conversations(seed: int) -> None:
    """A conversation that is in order, with some of its bytes changed, lost, doubled or swapped."""
    chance = random.Random(seed)
    wire = bytearray(calls.HELLO + b"".join(chance.sample(FRAMES[1:], 8)))
    for _ in range(chance.randrange(1, 12)):
        at = chance.randrange(len(calls.PREFACE), len(wire))
        match chance.randrange(4):
            case 0:
                wire[at] = chance.randrange(256)
            case 1:
                del wire[at : at + chance.randrange(1, 10)]
            case 2:
                wire[at:at] = wire[at : at + chance.randrange(1, 30)]
            case _:
                wire[at] ^= 1 << chance.randrange(8)
    sizes = [chance.randrange(1, 100) for _ in range(5)]
    run(lambda: attack(bytes(wire), sizes, close=chance.random() < 0.5))


@given(st.binary(max_size=400), st.booleans())
@SETTINGS
def test_a_client_survives_any_server(data: bytes, hello: bool) -> None:
    async def work() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_drain, theirs)
            async with open_channel(ours) as channel:
                await theirs.send_all((calls.settings() if hello else b"") + data + bytes(9))
                with pytest.raises(RpcError):
                    await channel.unary("/t.T/Echo", Blob(b"x"), Blob, timeout=5)
            nursery.cancel_scope.cancel()

    run(work)
