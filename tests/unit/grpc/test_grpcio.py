"""The server against a client that somebody else wrote: Google's, on a real socket, from a thread."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tricorn.grpc import GrpcServer
from tricorn_testing.grpc_calls import Door, Handlers, eventually, open_door

grpc = pytest.importorskip("grpc")
OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
]


def same(data: bytes) -> bytes:
    return data


@pytest.fixture
async def door(server: GrpcServer, short_path: Path) -> AsyncIterator[Door]:
    async with open_door(server, short_path) as door:
        yield door


@pytest.fixture
async def google(door: Door) -> AsyncIterator[Any]:
    channel = grpc.insecure_channel(f"unix:{door.path}", options=OPTIONS)
    yield channel
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(channel.close)


async def in_thread(work: Callable[[], Any]) -> Any:
    with trio.fail_after(60):
        return await trio.to_thread.run_sync(work)


async def refused(work: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        await in_thread(work)
    return caught.value


async def test_unary_calls(google: Any, handlers: Handlers) -> None:
    echo = google.unary_unary("/t.T/Echo", same, same)
    assert await in_thread(lambda: echo(b"hello")) == b"hello"
    assert await in_thread(lambda: [echo(b"%d" % number) for number in range(50)]) == [
        b"%d" % number for number in range(50)
    ]
    metadata = (("containerd-namespace", "k8s.io"), ("x-bin", b"\x00\xff"))
    assert await in_thread(lambda: echo(b"x" * 5_000_000, metadata=metadata, timeout=50)) == b"x" * 5_000_000
    call = handlers.calls[-1]
    assert call.metadata["containerd-namespace"] == "k8s.io"
    assert call.binary_metadata["x-bin"] == b"\x00\xff"
    assert call.deadline is not None


async def test_trailing_metadata(google: Any) -> None:
    trail = google.unary_unary("/t.T/Trail", same, same)
    answer, call = await in_thread(lambda: trail.with_call(b"x"))
    assert answer == b"x"
    assert ("x-raw-bin", b"\x00\xff") in [tuple(entry) for entry in call.trailing_metadata()]


async def test_statuses(google: Any) -> None:
    error = await refused(lambda: google.unary_unary("/t.T/Fail", same, same)(b""))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == "nö 100% \n"
    assert ("grpc-status-details-bin", b"details\x00") in [
        tuple(entry) for entry in error.trailing_metadata()
    ]
    error = await refused(lambda: google.unary_unary("/t.T/Nothing", same, same)(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_over_the_limit(google: Any) -> None:
    echo = google.unary_unary("/t.T/Echo", same, same)
    error = await refused(lambda: echo(b"x" * (17 * 1024 * 1024)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await in_thread(lambda: echo(b"x")) == b"x"


async def test_compressed_messages_are_refused(google: Any) -> None:
    echo = google.unary_unary("/t.T/Echo", same, same)
    error = await refused(lambda: echo(b"x" * 10_000, compression=grpc.Compression.Gzip))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_deadlines(google: Any, handlers: Handlers) -> None:
    error = await refused(lambda: google.unary_unary("/t.T/Sleep", same, same)(b"", timeout=0.1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: handlers.seen in ([], ["sleep began", "sleep cancelled"]))


async def test_streams_of_each_kind(google: Any) -> None:
    count = google.unary_stream("/t.T/Count", same, same)
    assert await in_thread(lambda: list(count(b"500"))) == [b"%d" % number for number in range(500)]
    total = google.stream_unary("/t.T/Sum", same, same)
    assert await in_thread(lambda: total(iter([b"x" * 1_000_000] * 20))) == b"20000000"
    chat = google.stream_stream("/t.T/Chat", same, same)
    parts = [b"a", b"", b"b" * 2_000_000, b"c" * 70_000]
    assert await in_thread(lambda: list(chat(iter(parts)))) == parts


async def test_an_early_answer_to_an_upload(google: Any) -> None:
    early = google.stream_stream("/t.T/Early", same, same)

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 100_000

    error = await refused(lambda: list(early(endless())))
    assert error.code() is grpc.StatusCode.ABORTED
    assert await in_thread(lambda: google.unary_unary("/t.T/Echo", same, same)(b"x")) == b"x"


async def test_cancelling(google: Any, handlers: Handlers) -> None:
    call = google.unary_stream("/t.T/Stall", same, same)(b"")
    assert await in_thread(lambda: next(call)) == b"first"
    call.cancel()
    await eventually(lambda: handlers.seen == ["stall began", "stall cancelled"])


async def test_the_servers_stop(google: Any, server: GrpcServer, handlers: Handlers) -> None:
    call = google.unary_stream("/t.T/Endless", same, same)(b"")
    await eventually(lambda: handlers.seen)
    server.drain()
    error = await refused(lambda: next(call))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.details() == "server is shutting down"


async def test_many_streams_on_one_connection(google: Any, server: GrpcServer, handlers: Handlers) -> None:
    stall = google.unary_stream("/t.T/Stall", same, same)
    calls = [stall(b"") for _ in range(300)]
    await eventually(lambda: server.statistics()["calls_open"] == 300)
    assert server.statistics()["connections"] == 1
    for call in calls:
        call.cancel()
    await eventually(lambda: server.statistics()["calls_open"] == 0)
