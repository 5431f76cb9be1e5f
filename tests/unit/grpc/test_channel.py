"""The client against servers that misbehave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from tricorn.grpc import Code, GrpcChannel, RpcError, Status, frames, hpack_literals, open_channel
from tricorn.grpc.frames import Frame, FrameCutter
from tricorn_testing.grpc_calls import Blob, data, message, reset, settings

Answer = Callable[[Frame, trio.abc.Stream], Awaitable[None]]


@asynccontextmanager
async def scripted(answer: Answer) -> AsyncIterator[GrpcChannel]:
    """A channel to a server that calls `answer` with each frame of a request's end."""
    ours, theirs = trio.testing.memory_stream_pair()

    async def serve() -> None:
        cutter = FrameCutter(client=False)
        await theirs.send_all(settings())
        while received := await theirs.receive_some():
            cutter.feed(bytes(received))
            while (frame := cutter.next()) is not None:
                if frame.kind in (frames.DATA, frames.HEADERS) and frame.flags & frames.END_STREAM:
                    await answer(frame, theirs)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with open_channel(ours) as channel:
            yield channel
        nursery.cancel_scope.cancel()


def fields(stream: int, *entries: tuple[bytes, bytes], end: bool = False) -> bytes:
    flags = frames.END_HEADERS | (frames.END_STREAM if end else 0)
    return frames.encode(frames.HEADERS, flags, stream, hpack_literals.block(entries))


OK_HEAD = ((b":status", b"200"), (b"content-type", b"application/grpc"))


def replying(*parts: Callable[[int], bytes]) -> Answer:
    async def answer(frame: Frame, stream: trio.abc.Stream) -> None:
        for part in parts:
            await stream.send_all(part(frame.stream))

    return answer


async def status_of(answer: Answer) -> Status:
    async with scripted(answer) as channel:
        with trio.fail_after(30), pytest.raises(RpcError) as caught:
            await channel.unary("/a/b", Blob(), Blob)
    return caught.value.status


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([lambda n: fields(n, (b":status", b"503"), end=True)], Code.UNAVAILABLE),
        ([lambda n: fields(n, (b":status", b"404")), lambda n: data(n, b"html", end=True)], Code.UNIMPLEMENTED),
        ([lambda n: fields(n, (b":status", b"wrong"), end=True)], Code.UNKNOWN),
        ([lambda n: fields(n, *OK_HEAD, end=True)], Code.INTERNAL),
        ([lambda n: fields(n, *OK_HEAD), lambda n: data(n, b"", end=True)], Code.INTERNAL),
        ([lambda n: fields(n, *OK_HEAD, (b"grpc-status", b"5"), end=True)], Code.NOT_FOUND),
        ([lambda n: fields(n, *OK_HEAD, (b"grpc-status", b"77"), end=True)], Code.UNKNOWN),
        ([lambda n: fields(n, *OK_HEAD, (b"grpc-status", b"x"), end=True)], Code.INTERNAL),
        ([lambda n: fields(n, *OK_HEAD, (b"grpc-status", b"0"), end=True)], Code.INTERNAL),  # no message
        ([lambda n: fields(n, *OK_HEAD), lambda n: reset(n, 7)], Code.UNAVAILABLE),
        ([lambda n: reset(n, 8)], Code.CANCELLED),
        ([lambda n: reset(n, 11)], Code.RESOURCE_EXHAUSTED),
        ([lambda n: fields(n, *OK_HEAD, (b"x-bin", b"*"), end=True)], Code.INTERNAL),
        ([lambda n: b"not a frame at all, nowhere near"], Code.UNAVAILABLE),
        ([lambda n: data(n, b"before headers")], Code.UNAVAILABLE),
        ([lambda n: frames.encode(frames.PUSH_PROMISE, 4, n, bytes(8))], Code.UNAVAILABLE),
        ([lambda n: frames.encode(frames.GOAWAY, 0, 0, frames.encode_goaway(0, 0, "bye"))], Code.UNAVAILABLE),
        ([lambda n: fields(n, *OK_HEAD), lambda n: data(n, message(b"x", flags=1))], Code.UNIMPLEMENTED),
        ([lambda n: fields(n, *OK_HEAD), lambda n: data(n, message(b"unparsable"))], Code.INTERNAL),
    ],
)  # fmt: skip
async def test_what_becomes_of_strange_answers(parts: list[Callable[[int], bytes]], code: Code) -> None:
    assert (await status_of(replying(*parts))).code is code


async def test_two_answers_to_a_unary_call() -> None:
    status = await status_of(
        replying(
            lambda n: fields(n, *OK_HEAD),
            lambda n: data(n, message(b"a") + message(b"b")),
            lambda n: fields(n, (b"grpc-status", b"0"), end=True),
        )
    )
    assert status.code is Code.INTERNAL


async def test_an_answer_cut_anywhere() -> None:
    async def answer(frame: Frame, stream: trio.abc.Stream) -> None:
        wire = (
            fields(frame.stream, *OK_HEAD)
            + data(frame.stream, message(b"whole"))
            + fields(frame.stream, (b"grpc-status", b"0"), end=True)
        )
        for byte in wire:
            await stream.send_all(bytes((byte,)))

    async with scripted(answer) as channel:
        assert await channel.unary("/a/b", Blob(), Blob) == Blob(b"whole")


async def test_goaway_lets_earlier_calls_end() -> None:
    async def answer(frame: Frame, stream: trio.abc.Stream) -> None:
        number = frame.stream
        await stream.send_all(frames.encode(frames.GOAWAY, 0, 0, frames.encode_goaway(number, 0, "")))
        await stream.send_all(fields(number, *OK_HEAD) + data(number, message(b"last")))
        await stream.send_all(fields(number, (b"grpc-status", b"0"), end=True))

    async with scripted(answer) as channel:
        assert await channel.unary("/a/b", Blob(), Blob) == Blob(b"last")
        assert channel.lost
        with pytest.raises(RpcError, match="no more calls"):
            await channel.unary("/a/b", Blob(), Blob)


async def test_a_silent_server_and_a_deadline() -> None:
    async def answer(frame: Frame, stream: trio.abc.Stream) -> None:
        pass

    async with scripted(answer) as channel:
        with pytest.raises(RpcError, match="DEADLINE"):
            await channel.unary("/a/b", Blob(), Blob, timeout=0.05)


async def test_nobody_listens(short_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        async with open_channel(str(short_path / "nobody")):
            pass


async def test_errors_of_the_block_come_out_as_they_are(channel: GrpcChannel) -> None:
    with pytest.raises(ValueError, match="mine"):
        async with open_channel(trio.testing.memory_stream_pair()[0]):
            raise ValueError("mine")


async def test_misuse_is_told(channel: GrpcChannel) -> None:
    async with channel.stream("/t.T/Sum", Blob) as call:
        await call.send(Blob(), end=True)
        with pytest.raises(RuntimeError, match="last message"):
            await call.send(Blob())
    with pytest.raises(ValueError, match="grpc-x"):
        await channel.unary("/t.T/Echo", Blob(), Blob, [("grpc-x", "1")])
