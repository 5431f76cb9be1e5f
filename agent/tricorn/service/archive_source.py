"""An archive as it comes from a client, read by a worker thread: unpacked, in pieces."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import trio

from tricorn import limits
from tricorn.fs import decompress
from tricorn.service.progress import Reporter

Receive = Callable[[], Awaitable[bytes]]  # some bytes of the archive; b"" at its end


class ArchiveSource:
    """The thread's side of a stream. Its bytes are told to `reporter`."""

    def __init__(self, receive: Receive, reporter: Reporter) -> None:
        self._receive = receive
        self._reporter = reporter
        self._rest = memoryview(b"")
        self._received = 0

    def unpacked(self) -> Iterator[bytes]:
        """Yield what is in it, whether it comes as gzip, zstd or plain.

        InvalidArgument for damaged data, ResourceExhausted for a bomb.
        """
        yield from unpacked(self._read)

    def _read(self, count: int) -> bytes:
        if not self._rest:
            self._rest = memoryview(trio.from_thread.run(self._gather))
        data, self._rest = bytes(self._rest[:count]), self._rest[count:]
        return data

    async def _gather(self) -> bytes:
        """Return about a buffer of what comes: turns between the thread and the loop cost more than bytes."""
        parts: list[bytes] = []
        size = 0
        while size < limits.TRANSFER_BUFFER and (data := await self._receive()):
            parts.append(data)
            size += len(data)
        self._received += size
        self._reporter.report("read", offset=self._received, total=self._reporter.expected)
        return b"".join(parts)


def unpacked(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield what is in the bytes of `read`, by what they begin with."""
    start = b""
    while len(start) < decompress.DETECT_SIZE and (data := read(decompress.DETECT_SIZE - len(start))):
        start += data
    compression = decompress.detect(start, "")
    yield from decompress.chunks(decompress.prefixed(start, read), compression)
