"""A part of a file as a request's body: at once where it is in memory, else read off the event loop."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import DataLoss
from tricorn.registry.body_sender import BodySender
from tricorn.registry.fetch import Buffers

_READERS = trio.CapacityLimiter(4)
_PIECE: Final = limits.MIB  # bytes between the first reports of progress


@frozen
class FilePart:
    """Bytes `start` to `end` of the file at `path`. `sent` learns the offset that went out so far."""

    path: str
    start: int
    end: int
    buffers: Buffers
    sent: Callable[[int], None]

    @property
    def length(self) -> int:
        return self.end - self.start

    async def write_to(self, send: BodySender) -> None:
        """Send the part. DataLoss when the file is gone or shorter than it should be."""
        descriptor = await self._open()
        try:
            with self._pieces(send) as piece:
                offset = self.start
                while offset < self.end:
                    # Doubled each time: a large file isn't worth a report for each MiB, which takes longer
                    # than to send it; a slow peer makes the pieces smaller by itself.
                    most = max(_PIECE, offset - self.start)
                    count = await piece(descriptor, offset, min(most, self.end - offset))
                    if not count:
                        raise DataLoss(
                            f"{self.path} is too short", why=f"{self.end - offset} bytes are missing"
                        )
                    offset += count
                    self.sent(offset)
        finally:
            os.close(descriptor)

    @contextmanager
    def _pieces(self, send: BodySender) -> Iterator[Callable[[int, int, int], Awaitable[int]]]:
        """Yield what sends some bytes of a file, and tells how many it sent."""
        if send.takes_files:
            yield send.file
            return
        buffer = self.buffers.take()

        async def copied(descriptor: int, offset: int, count: int) -> int:
            view = memoryview(buffer)[:count]
            read = await _read(descriptor, view, offset)
            await send(view[:read])
            return read

        try:
            yield copied
        finally:
            self.buffers.give(buffer)

    async def _open(self) -> int:
        try:
            return await trio.to_thread.run_sync(
                os.open, self.path, os.O_RDONLY | os.O_CLOEXEC, limiter=_READERS
            )
        except OSError as error:
            raise DataLoss(f"{self.path} can't be read", why=error.strerror or "") from None


async def _read(descriptor: int, view: memoryview, offset: int) -> int:
    """Fill some of `view`; what was just written or read is in memory, and a thread would take longer."""
    try:
        return os.preadv(descriptor, [view], offset, os.RWF_NOWAIT)
    except OSError:  # not in memory, or a file system that can't tell
        return await trio.to_thread.run_sync(os.preadv, descriptor, [view], offset, limiter=_READERS)
