"""A part of a file as a request's body: at once where it is in memory, else read off the event loop."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import trio
from attrs import frozen

from tricorn.errors import DataLoss
from tricorn.registry.fetch import Buffers

_READERS = trio.CapacityLimiter(4)


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

    async def write_to(self, send: Callable[[memoryview], Awaitable[None]]) -> None:
        """Send the part. DataLoss when the file is gone or shorter than it should be."""
        descriptor = await self._open()
        buffer = self.buffers.take()
        try:
            offset = self.start
            while offset < self.end:
                view = memoryview(buffer)[: min(len(buffer), self.end - offset)]
                count = await _read(descriptor, view, offset)
                if not count:
                    raise DataLoss(f"{self.path} is too short", why=f"{self.end - offset} bytes are missing")
                await send(view[:count])
                offset += count
                self.sent(offset)
        finally:
            os.close(descriptor)
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
