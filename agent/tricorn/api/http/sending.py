"""Sends answers that take a while: lines as they come, and files."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog
import trio

from tricorn import limits
from tricorn.api.http import problems
from tricorn.api.http.codec import encode_line
from tricorn.api.http.replies import BYTES, NDJSON, Data, Lines, Streamed, drawing_from, problem
from tricorn.api.http.wire import Wire
from tricorn.errors import DataLoss, TricornError

log = structlog.get_logger(__name__)
_FIRST_LINE: Final = 0.1  # seconds for the first line or error before the head goes out without it
_LINES_AHEAD: Final = 64  # lines that are sent in one piece when they are there at once
_BATCH: Final = 256 * limits.KIB


class Sender:
    """Writes to a stream, and knows whether a write was cut off half-way."""

    def __init__(self, stream: trio.abc.SendStream) -> None:
        self._stream = stream
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None
        self.interrupted = False
        self.farewell: Callable[[TricornError], bytes] | None = None  # ends a begun answer in order

    async def send(self, data: bytes, *, stall: float | None = None) -> None:
        """Send all of `data`; raise BrokenResourceError if it takes longer than `stall` seconds."""
        data = data[self._send_at_once(data) :] if data else data
        if not data:
            return
        self.interrupted = True
        if stall is None:
            await self._stream.send_all(data)
        else:
            with trio.move_on_after(stall) as patience:
                await self._stream.send_all(data)
            if patience.cancelled_caught:
                raise trio.BrokenResourceError("the client takes no bytes")
        self.interrupted = False

    def _send_at_once(self, data: bytes) -> int:
        """Give the kernel what it takes without waiting: nearly always all of it, at a fraction of the
        cost of a full turn of the event loop.
        """
        if self._socket is None:
            return 0
        try:
            return os.write(self._socket.fileno(), data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError("the client is gone") from error


async def send_lines(sender: Sender, wire: Wire, reply: Lines, *, close: bool) -> None:
    """Send each line as soon as it is there, with all those that are there with it."""
    outcome = "cancelled"
    failure: TricornError | None = None
    try:
        send_channel, lines = trio.open_memory_channel[bytes](_LINES_AHEAD)
        async with trio.open_nursery() as nursery:
            producer = _Producer(reply.source, send_channel)
            nursery.start_soon(producer.run)
            await _LineAnswer(sender, wire, reply.status, lines, close=close).run(producer)
        failure = producer.failure
        outcome = failure.code if failure else "ok"
    finally:
        reply.ended(outcome)


class _Producer:
    """Draws from the source into a bounded channel; keeps the error it ended with."""

    def __init__(self, source: AsyncIterator[object], lines: trio.MemorySendChannel[bytes]) -> None:
        self._source = source
        self._lines = lines
        self.failure: TricornError | None = None

    async def run(self) -> None:
        try:
            async with self._lines:
                await self._draw()
        except trio.BrokenResourceError:
            pass  # nobody reads any more

    async def _draw(self) -> None:
        try:
            async with drawing_from(self._source) as source:
                async for item in source:
                    await self._lines.send(encode_line(item))
        except TricornError as error:
            self.failure = error
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise
        except Exception:
            log.exception("stream failed")
            self.failure = problems.mistake()


class _LineAnswer:
    def __init__(
        self,
        sender: Sender,
        wire: Wire,
        status: int,
        lines: trio.MemoryReceiveChannel[bytes],
        *,
        close: bool,
    ) -> None:
        self._sender = sender
        self._wire = wire
        self._status = status
        self._lines = lines
        self._close = close

    async def run(self, producer: _Producer) -> None:
        first, ended = await self._first()
        if ended and producer.failure is not None:
            await self._fail(producer.failure)
            return
        headers = [
            ("Content-Type", NDJSON),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        data = self._wire.start(self._status, headers, close=self._close)
        self._sender.farewell = self._ending
        await self._sender.send(data + (self._wire.part(first) if first else b""))
        if not ended:
            await self._follow()
        await self._sender.send(self._ending(producer.failure))
        self._sender.farewell = None

    async def _first(self) -> tuple[bytes, bool]:
        """Return the first lines (none when they take long) and whether the source has ended."""
        with trio.move_on_after(_FIRST_LINE):
            try:
                return self._batch(await self._lines.receive()), False
            except trio.EndOfChannel:
                return b"", True
        return b"", False

    async def _follow(self) -> None:
        async for line in self._lines:
            await self._sender.send(self._wire.part(self._batch(line)))

    def _batch(self, line: bytes) -> bytes:
        lines = [line]
        size = len(line)
        while size < _BATCH:
            try:
                lines.append(self._lines.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
            size += len(lines[-1])
        return b"".join(lines)

    def _ending(self, failure: TricornError | None) -> bytes:
        last = self._wire.part(encode_line({"error": failure.problem()})) if failure else b""
        return last + self._wire.finish()

    async def _fail(self, failure: TricornError) -> None:
        reply = problem(failure)
        headers = [("Content-Type", reply.content_type)]
        await self._sender.send(self._wire.whole(reply.status, headers, reply.body, close=self._close))


async def send_data(sender: Sender, wire: Wire, reply: Data, *, close: bool) -> None:
    """Send a file's bytes. Raises DataLoss when it is missing or shorter than said; in the latter case the
    connection must end, as the client waits for more.
    """
    headers = [("Content-Type", BYTES), ("Content-Length", str(reply.size)), *reply.headers]
    try:
        file = await trio.open_file(reply.path, "rb")
    except OSError as error:
        log.error("blob not readable", path=reply.path, why=os.strerror(error.errno or 0))
        raise DataLoss("a blob's bytes are missing", hint="remove its image and pull it again") from None
    async with file:
        if reply.offset:
            await file.seek(reply.offset)
        await sender.send(wire.start(reply.status, headers, close=close), stall=reply.stall)
        left = reply.size
        while left and not wire.head_only:
            piece = await file.read(min(left, limits.TRANSFER_BUFFER))
            if not piece:
                raise DataLoss("a blob is shorter than its record", why=f"{left} bytes are missing")
            left -= len(piece)
            await sender.send(wire.part(piece), stall=reply.stall)
            await reply.sent(len(piece))
    await sender.send(wire.finish(), stall=reply.stall)


async def send_streamed(sender: Sender, wire: Wire, reply: Streamed, *, close: bool) -> None:
    """Send what the reply's `run` writes. Raises its errors: before the head is out they can be answered,
    later the connection must end.
    """
    outcome = "cancelled"
    head = [("Content-Type", reply.content_type), ("Cache-Control", "no-store")]

    async def write(data: bytes | memoryview) -> None:
        if not wire.answering:
            await sender.send(wire.start(reply.status, head, close=close), stall=limits.HTTP_SEND_STALL)
        if data:
            await sender.send(wire.part(bytes(data)), stall=limits.HTTP_SEND_STALL)

    try:
        if wire.head_only:
            await write(b"")
        else:
            await reply.run(write)
        await write(b"")
        await sender.send(wire.finish(), stall=limits.HTTP_SEND_STALL)
        outcome = "ok"
    except TricornError as error:
        outcome = error.code
        raise
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        raise
    except Exception:
        log.exception("stream failed")
        outcome = "Internal"
        raise problems.mistake() from None
    finally:
        reply.ended(outcome)
