"""Named streams of messages between a client and what works for it: progress, credentials, bytes.

A client opens a stream under an id and then names the id in another call. The stream lives as long as its
opener's call: it ends when the worker closes it, when the client goes, or when the agent stops.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import AlreadyExists, Canceled, InvalidArgument, NotFound, ResourceExhausted
from tricorn.rules.reach import Kind, Node, Object
from tricorn.service.nurseries import typed_nursery
from tricorn.store.gc_graph import Outside

_AHEAD: Final = 64  # messages of the client that wait for the worker; then the client has to
_NAME: Final = 256


class ByteSender(Protocol):
    async def pass_on(self, data: bytes) -> None:
        """Send `data` at once, as far as the client takes it. Canceled when it is gone."""
        ...


class ByteReceiver(Protocol):
    async def receive(self) -> bytes:
        """Return some bytes, none at the end. Canceled when the client is gone."""
        ...


@frozen
class Framing:
    """How bytes go over a stream of messages; the door knows that, which knows the messages."""

    sender: Callable[[MessageStream], ByteSender]
    receiver: Callable[[MessageStream], ByteReceiver]


class MessageStream:
    """The worker's end. One task at a time sends, one receives. `taken` is set by who works with it for
    longer than a call.
    """

    def __init__(
        self,
        name: str,
        outgoing: trio.MemorySendChannel[Any],
        incoming: trio.MemoryReceiveChannel[Any],
        framing: Framing | None = None,
        lease: str = "",
    ) -> None:
        self.name = name
        self.framing = framing
        self.lease = lease
        self.taken = False
        self._outgoing = outgoing
        self._incoming = incoming
        self.ended = False  # the client said that nothing more comes

    async def send(self, message: Any) -> None:
        """Give a message to the client's connection. Canceled when the client is gone."""
        try:
            await self._outgoing.send(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._gone() from None

    async def receive(self) -> Any | None:
        """Return the client's next message, None when it sends no more. Canceled when it is gone."""
        try:
            return await self._incoming.receive()
        except trio.EndOfChannel:
            if self.ended:
                return None
            raise self._gone() from None
        except trio.ClosedResourceError:
            raise self._gone() from None

    def receive_nowait(self) -> Any | None:
        """Return a message that is here already, or None."""
        try:
            return self._incoming.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
            return None

    def close(self) -> None:
        """End the stream once all that was sent is on its way."""
        self._outgoing.close()
        self._incoming.close()

    def _gone(self) -> Canceled:
        return Canceled(f"stream {self.name} is closed", why="its client went away")


class StreamService:
    """The streams that are open now, by namespace and id; bounded, and gone with their connections."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], MessageStream] = {}
        self._opened = trio.Event()

    def __len__(self) -> int:
        return len(self._streams)

    def get(self, namespace: str, name: str) -> MessageStream:
        """Return an open stream; NotFound."""
        try:
            return self._streams[namespace, name]
        except KeyError:
            raise NotFound(
                f"stream {name[:_NAME]!r} does not exist in namespace {namespace}",
                hint="a stream is opened before the call that names it, and lives as long as its connection",
            ) from None

    def find(self, namespace: str, name: str) -> MessageStream | None:
        return self._streams.get((namespace, name))

    async def appear(self, namespace: str, name: str) -> MessageStream:
        """Return a stream that nobody works with, once there is one of this name."""
        while True:
            found = self.find(namespace, name)
            if found and not found.taken:
                return found
            await self._opened.wait()

    def outside(self) -> list[Outside]:
        """Return the streams as the collector sees them."""
        return [
            Outside(Object(Node(Kind.STREAM, namespace, name), pinned=_in_use(stream)), stream.lease)
            for (namespace, name), stream in self._streams.items()
        ]

    async def collect(self, node: Node) -> None:
        """End a stream whose lease is gone."""
        stream = self.find(node.namespace, node.key)
        if stream is not None:
            stream.close()
        await trio.lowlevel.checkpoint()

    async def serve(
        self,
        namespace: str,
        name: str,
        *,
        framing: Framing | None = None,
        lease: str = "",
        opened: Callable[[], Awaitable[None]],
        send: Callable[[Any], Awaitable[None]],
        receive: Callable[[], Awaitable[Any | None]],
    ) -> None:
        """Have a stream of this name while its worker wants it, between `send` and `receive` of the
        client's connection; `opened` is called once others can find it. One that was opened under a lease
        ends with the lease, unless a process has it by then.

        Raises AlreadyExists, ResourceExhausted, InvalidArgument for an id that is none.
        """
        async with self._registered(namespace, name, framing, lease) as (stream, outgoing, incoming):
            await opened()
            async with typed_nursery() as nursery:
                nursery.start_soon(self._read, stream, receive, incoming)
                async for message in outgoing:
                    await send(message)
                nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def _registered(
        self, namespace: str, name: str, framing: Framing | None, lease: str
    ) -> AsyncIterator[tuple[MessageStream, trio.MemoryReceiveChannel[Any], trio.MemorySendChannel[Any]]]:
        key = namespace, name
        if not name or len(name) > _NAME:
            raise InvalidArgument("a stream needs an id", why=f"of 1 to {_NAME} characters", field="id")
        if key in self._streams:
            raise AlreadyExists(f"stream {name!r} exists already in namespace {namespace}")
        if len(self._streams) >= limits.STREAMS:
            raise ResourceExhausted("too many streams are open", why=f"at most {limits.STREAMS}")
        out_in, out_out = trio.open_memory_channel[Any](0)
        in_in, in_out = trio.open_memory_channel[Any](_AHEAD)
        stream = self._streams[key] = MessageStream(name, out_in, in_out, framing, lease)
        self._opened.set()
        self._opened = trio.Event()
        try:
            with out_out, in_in:
                yield stream, out_out, in_in
        finally:
            del self._streams[key]

    async def _read(
        self,
        stream: MessageStream,
        receive: Callable[[], Awaitable[Any | None]],
        incoming: trio.MemorySendChannel[Any],
    ) -> None:
        try:
            while (message := await receive()) is not None:
                await incoming.send(message)
        except trio.BrokenResourceError:
            return  # the worker has closed its end
        stream.ended = True
        incoming.close()


def _in_use(stream: MessageStream) -> str:
    if stream.taken:
        return "a process has it"
    return "" if stream.lease else "its client has it open"
