"""A gRPC server with handlers of a test's own, a client beside it, and HTTP/2 by raw bytes."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import hpack
import trio
import trio.lowlevel
import trio.testing

from tricorn.grpc import Call, Code, GrpcServer, Method, RpcError, Status, frames, hpack_literals

PREFACE = frames.PREFACE
PATIENCE = 30.0


class Blob:
    """A message that is its bytes."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    @classmethod
    def FromString(cls, data: bytes, /) -> Self:  # noqa: N802 - protobuf's name
        if data == b"unparsable":
            raise ValueError("not a message")
        return cls(data)

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        return self.data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blob) and other.data == self.data

    __hash__ = None  # type: ignore[assignment]


class Mistake(Exception):
    """What a handler didn't foresee."""


def translate(error: BaseException) -> Status:
    if isinstance(error, Mistake):
        raise error
    return Status(Code.FAILED_PRECONDITION, f"translated {error}")


class Handlers:
    """Methods of each shape. What handlers notice is in `seen`; with `quick` those that wait for nothing are
    declared so.
    """

    def __init__(self, *, quick: bool | Callable[[Any], bool] = False) -> None:
        self._quick = quick
        self.seen: list[str] = []
        self.calls: list[Call] = []
        self.release = trio.Event()

    def methods(self) -> dict[str, Method]:
        unary = {
            "Echo": self.echo,
            "Fail": self.fail,
            "Sleep": self.sleep,
            "Trail": self.trail,
            "Big": self.big,
        }
        methods = [
            Method(
                f"/t.T/{name}",
                Blob,
                Blob,
                False,
                False,
                handler,
                quick=self._quick if name != "Sleep" else False,
            )
            for name, handler in unary.items()
        ]
        streams = {"Count": self.count, "Endless": self.subscribe, "Stall": self.stall}
        methods += [
            Method(f"/t.T/{name}", Blob, Blob, False, True, handler, endless=name == "Endless")
            for name, handler in streams.items()
        ]
        methods.append(Method("/t.T/Sum", Blob, Blob, True, False, self.sum))
        methods += [
            Method(f"/t.T/{name}", Blob, Blob, True, True, handler)
            for name, handler in {
                "Chat": self.chat,
                "Deaf": self.deaf,
                "Early": self.early,
                "Torn": self.torn,
            }.items()
        ]
        return {method.path: method for method in methods}

    async def echo(self, call: Call, request: Blob) -> Blob:
        self.calls.append(call)
        return request

    async def fail(self, call: Call, request: Blob) -> Blob:
        match request.data:
            case b"mistake":
                raise Mistake
            case b"group":
                raise ExceptionGroup("two", [ValueError("a"), ValueError("b")])
            case b"cancelled":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._wait_cancelled, "nested")
                    await trio.lowlevel.checkpoint()
                    raise ValueError("with a cancelled sibling")
        raise RpcError(Status(Code.NOT_FOUND, "nö 100% \n", b"details\x00"))

    async def sleep(self, call: Call, request: Blob) -> Blob:
        await self._wait_cancelled("sleep")
        raise AssertionError

    async def _wait_cancelled(self, name: str) -> None:
        self.seen.append(f"{name} began")
        try:
            await self.release.wait()
        except trio.Cancelled:
            self.seen.append(f"{name} cancelled")
            raise

    async def trail(self, call: Call, request: Blob) -> Blob:
        call.set_trailing("x-text", "äö")
        call.set_trailing("x-raw-bin", b"\x00\xff")
        return request

    async def big(self, call: Call, request: Blob) -> Blob:
        return Blob(b"b" * int(request.data))

    async def count(self, call: Call, request: Blob) -> None:
        count, _, size = request.data.partition(b" ")
        for number in range(int(count)):
            await call.send(Blob(b"%d" % number if not size else b"c" * int(size)))
            self.seen.append(f"sent {number}")

    async def subscribe(self, call: Call, request: Blob) -> None:
        await self._wait_cancelled("endless")

    async def stall(self, call: Call, request: Blob) -> None:
        await call.send(Blob(b"first"))
        await self._wait_cancelled("stall")

    async def sum(self, call: Call) -> Blob:
        total = 0
        while (message := await call.receive()) is not None:
            total += len(message.data)
        return Blob(b"%d" % total)

    async def chat(self, call: Call) -> None:
        while (message := await call.receive()) is not None:
            await call.send(message)

    async def deaf(self, call: Call) -> None:
        await self._wait_cancelled("deaf")

    async def early(self, call: Call) -> None:
        await call.receive()
        raise RpcError.of(Code.ABORTED, "enough")

    async def torn(self, call: Call) -> None:
        with trio.move_on_after(0.05):
            await call.send(Blob(b"t" * 2_000_000))
        try:
            await call.send(Blob(b"more"))
        except RpcError:
            self.seen.append("refused to go on")


class Door:
    """A running server. `connect` gives a raw stream to it."""

    def __init__(self, server: GrpcServer, nursery: trio.Nursery, path: str | None = None) -> None:
        self.server = server
        self.path = path
        self._nursery = nursery

    async def connect(self) -> trio.abc.Stream:
        if self.path is not None:
            return await trio.open_unix_socket(self.path)
        ours, theirs = socket.socketpair()
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        self._nursery.start_soon(self._serve, stream)
        return trio.SocketStream(trio.socket.from_stdlib_socket(ours))

    def connect_memory(self) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._serve, theirs)
        return ours

    async def _serve(self, stream: trio.abc.Stream) -> None:
        async with stream:
            await self.server.serve_connection(stream, "peer", b"")


@asynccontextmanager
async def open_door(server: GrpcServer, directory: Path | None = None) -> AsyncIterator[Door]:
    """Run a server, on a unix socket if there is a directory for it."""
    async with trio.open_nursery() as nursery:
        path = None
        if directory is not None:
            path = str(directory / "grpc.sock")
            listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            await listener.bind(path)
            listener.listen(64)

            async def serve(stream: trio.abc.Stream) -> None:
                await server.serve_connection(stream, "peer", b"")

            nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(listener)])
        yield Door(server, nursery, path)
        nursery.cancel_scope.cancel()


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until the condition holds."""
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - seen from outside
            await trio.sleep(0.005)


# ---------------------------------------------------------------- raw bytes
def settings(**entries: int) -> bytes:
    names = {"table": 1, "push": 2, "streams": 3, "window": 4, "frame": 5, "list": 6}
    return frames.encode(
        frames.SETTINGS, 0, 0, frames.encode_settings({names[k]: v for k, v in entries.items()})
    )


HELLO = PREFACE + settings()


def request_fields(path: bytes = b"/t.T/Echo", *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return [
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"l"),
        (b"content-type", b"application/grpc"), (b"te", b"trailers"), *more,
    ]  # fmt: skip


def headers(
    stream: int, fields: Iterable[tuple[bytes, bytes]] | None = None, *, end: bool = False, more: bool = False
) -> bytes:
    flags = (0 if more else frames.END_HEADERS) | (frames.END_STREAM if end else 0)
    block = hpack_literals.block(request_fields() if fields is None else fields)
    return frames.encode(frames.HEADERS, flags, stream, block)


def data(stream: int, payload: bytes, *, end: bool = False, flags: int = 0) -> bytes:
    return frames.encode(frames.DATA, flags | (frames.END_STREAM if end else 0), stream, payload)


def message(payload: bytes, *, flags: int = 0) -> bytes:
    return struct.pack(">BI", flags, len(payload)) + payload


def reset(stream: int, code: int = 8) -> bytes:
    return frames.encode(frames.RST_STREAM, 0, stream, struct.pack(">I", code))


def window_update(stream: int, increment: int) -> bytes:
    return frames.encode(frames.WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def unary(stream: int, payload: bytes = b"hello", path: bytes = b"/t.T/Echo") -> bytes:
    return headers(stream, request_fields(path)) + data(stream, message(payload), end=True)


class RawClient:
    """Sees each frame the server sends."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._cutter = frames.FrameCutter(client=True)
        self._tables = hpack.Decoder()
        self.closed = False

    async def send(self, data: bytes) -> bool:
        """Send; False if the server has gone."""
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    async def next(self) -> frames.Frame | None:
        """Return the next frame, None at the end."""
        while (frame := self._cutter.next()) is None:
            try:
                received = bytes(await self.stream.receive_some(65536))
            except trio.BrokenResourceError:
                received = b""
            if not received:
                self.closed = True
                return None
            self._cutter.feed(received)
        return frame

    async def until(self, *kinds: int) -> frames.Frame | None:
        """Return the next frame of one of the kinds, None at the end."""
        with trio.fail_after(PATIENCE):
            while (frame := await self.next()) is not None:
                if frame.kind in kinds:
                    return frame
        return None

    async def expect(self, *kinds: int) -> frames.Frame:
        """Return the next frame of one of the kinds; fail if there comes none."""
        frame = await self.until(*kinds)
        assert frame is not None, "the connection ended"
        return frame

    async def goaway(self) -> int:
        """Read to the end; return the code of the GOAWAY, -1 if there was none."""
        code = -1
        while (frame := await self.until(frames.GOAWAY)) is not None:
            code = frames.goaway_of(frame)[1]
        return code

    def fields(self, frame: frames.Frame) -> dict[str, str]:
        return {
            name.decode(): value.decode("latin-1")
            for name, value in self._tables.decode(frame.payload, raw=True)
        }


Script = Callable[[RawClient], Awaitable[Any]]
