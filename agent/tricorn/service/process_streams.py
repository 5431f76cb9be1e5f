"""The stdio of processes over streams that their clients opened: the agent stands between pipe and client.

A stream lives as long as its client's connection, a process longer: what it writes while nobody has the
stream open is dropped, and its stdin stays open. A client that opens a stream of the same id again, also
after a restart of the agent, gets what comes from then on.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
import trio

from tricorn.errors import FailedPrecondition, TricornError
from tricorn.service.streams import ByteSender, MessageStream, StreamService

log = structlog.get_logger(__name__)
_READ: Final = 64 * 1024


class StreamPipes:
    """Implements `ports.ProcessStreams`; the copying tasks are its own, two pipes' worth of bytes each."""

    def __init__(self, streams: StreamService, nursery: trio.Nursery) -> None:
        self._streams = streams
        self._nursery = nursery

    @classmethod
    @asynccontextmanager
    async def open(cls, streams: StreamService) -> AsyncIterator[StreamPipes]:
        """Own the copying; at the exit it is broken off, and the processes go on."""
        async with trio.open_nursery() as nursery:
            try:
                yield cls(streams, nursery)
            finally:
                nursery.cancel_scope.cancel()

    def check(self, namespace: str, id: str) -> None:
        if self._streams.get(namespace, id).taken:
            raise FailedPrecondition(
                f"stream {id} is in use", why="another process has it as its stdio", hint="open one for each"
            )

    def output(self, namespace: str, id: str) -> int:
        source, sink = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        work = _Output(self._streams, namespace, id, source)
        work.attach()  # before another process can
        self._nursery.start_soon(_guarded, work.run, id, name=f"output to stream {id}")
        return sink

    def input(self, namespace: str, id: str, ended: Callable[[], None]) -> tuple[int, int]:
        source, sink = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        writer = os.dup(sink)
        work = _Input(self._streams, namespace, id, sink, ended)
        self._nursery.start_soon(_guarded, work.run, id, name=f"input from stream {id}")
        return source, writer


async def _guarded(work: Callable[[], Awaitable[None]], id: str) -> None:
    try:
        await work()
    except Exception:  # whatever is wrong with one stream, the others go on
        log.exception("copying with a stream broken off", stream=id)


class _Output:
    """From a pipe to the client that has the stream open."""

    def __init__(self, streams: StreamService, namespace: str, id: str, source: int) -> None:
        self._streams = streams
        self._namespace = namespace
        self._id = id
        self._source = source
        self._stream: MessageStream | None = None
        self._sender: ByteSender | None = None
        self._lost = False

    def attach(self) -> None:
        """Take the stream if a client has it open and no process has it."""
        found = self._streams.find(self._namespace, self._id)
        if found and found.framing and not found.taken:
            found.taken = True
            self._stream, self._sender = found, found.framing.sender(found)

    async def run(self) -> None:
        try:
            while data := await self._read():
                await self._pass_on(data)
            if self._lost and self._stream is None:
                self.attach()  # a client that came back in the meantime is told of the end, too
        finally:
            os.close(self._source)
            self._detach()

    async def _read(self) -> bytes:
        while True:
            try:
                return os.read(self._source, _READ)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._source)

    async def _pass_on(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self._sender is None:
            self.attach()
        if self._sender is None:
            return
        try:
            await self._sender.pass_on(data)
        except TricornError as error:
            log.info("output is dropped", stream=self._id, why=error.one_line())
            self._lost = True
            self._detach()

    def _detach(self) -> None:
        if self._stream:
            self._stream.close()
        self._stream = self._sender = None


class _Input:
    """From the client that has the stream open into a pipe, until that is read no more."""

    def __init__(
        self, streams: StreamService, namespace: str, id: str, sink: int, ended: Callable[[], None]
    ) -> None:
        self._streams = streams
        self._namespace = namespace
        self._id = id
        self._sink = sink
        self._ended = ended

    async def run(self) -> None:
        ended = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_unread, nursery.cancel_scope)
                while not ended:
                    ended = await self._feed(await self._streams.appear(self._namespace, self._id))
                nursery.cancel_scope.cancel()
        finally:
            os.close(self._sink)
        if ended:
            self._ended()

    async def _until_unread(self, scope: trio.CancelScope) -> None:
        """A writing end of a pipe never is readable, but wakes who waits for that when its reader is gone."""
        await trio.lowlevel.wait_readable(self._sink)
        scope.cancel()

    async def _feed(self, stream: MessageStream) -> bool:
        """Copy from a stream; return whether the client ended it, rather than going away."""
        stream.taken = True
        try:
            if stream.framing:
                receiver = stream.framing.receiver(stream)
                while data := await receiver.receive():
                    await self._write(memoryview(data))
                return True
        except TricornError as error:
            log.info("input is broken off", stream=self._id, why=error.one_line())
        except BrokenPipeError:
            pass  # the process has closed its stdin
        finally:
            stream.close()
        return False

    async def _write(self, data: memoryview) -> None:
        while data:
            try:
                data = data[os.write(self._sink, data) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sink)
