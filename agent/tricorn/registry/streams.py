"""The bytes below HTTP: a TCP socket, plain or with TLS, read into the caller's buffer.

Trio's own SSLStream hands out one 16 KiB record a call, which costs five times the decryption. Here OpenSSL
works on the socket itself, and one call reads all the records that have arrived.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

from tricorn.registry import file_sending

T = TypeVar("T")
_FILES = trio.CapacityLimiter(8)
_RECORDS = 32  # of 16 KiB that are sent between two turns of other tasks


class ByteStream(Protocol):
    """A connected socket. All methods that do I/O raise OSError when the connection is broken."""

    sends_files: bool

    async def send_all(self, data: bytes | memoryview) -> None: ...

    async def send_file(self, descriptor: int, offset: int, count: int) -> int:
        """Send some of a file's bytes from `offset`, at most `count`; return how many, 0 at the file's end.
        Only where `sends_files` is true.
        """
        ...

    async def receive_into(self, view: memoryview) -> int:
        """Wait for bytes, put them into `view` and return their count; 0 when the peer has closed."""
        ...

    def quiet(self) -> bool:
        """Whether there is nothing to read: no byte, no close."""
        ...

    def close(self) -> None:
        """Close at once, without saying goodbye: nothing of value is lost."""
        ...


class PlainStream:
    """TCP."""

    sends_files = True

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _os_error(error) from error

    async def send_file(self, descriptor: int, offset: int, count: int) -> int:
        bare = self._stream.socket
        local = bare.getpeername()[0] == bare.getsockname()[0]
        take = file_sending.taker(bare.fileno(), descriptor, local=local)
        sent = None
        while sent is None:  # what the disk has to be asked for holds up a thread only
            sent = await trio.to_thread.run_sync(
                file_sending.send, bare.fileno(), take, offset, count, limiter=_FILES
            )
        return sent

    async def receive_into(self, view: memoryview) -> int:
        return await self._stream.socket.recv_into(view)

    def quiet(self) -> bool:
        return not _readable(self._stream.socket.fileno())

    def close(self) -> None:
        self._stream.socket.close()

    def detach(self) -> socket.socket:
        """Return the bare socket, non-blocking, and let go of it."""
        bare = socket.socket(fileno=self._stream.socket.detach())
        bare.settimeout(0)
        return bare


class TlsStream:
    """TLS over TCP. A close without TLS's own goodbye counts as a close: HTTP has its own ends."""

    sends_files = False

    def __init__(self, bare: socket.socket, context: ssl.SSLContext, server_name: str) -> None:
        self._socket = context.wrap_socket(bare, server_hostname=server_name, do_handshake_on_connect=False)

    async def handshake(self) -> None:
        """Agree on keys and check the certificate; raises ssl.SSLError and OSError."""
        await self._when_ready(self._socket.do_handshake)

    async def send_all(self, data: bytes | memoryview) -> None:
        left = memoryview(data)
        while left:
            left = left[await self._when_ready(self._socket.send, left) :]
            left = self._send_now(left)

    async def send_file(self, descriptor: int, offset: int, count: int) -> int:
        raise NotImplementedError("bytes have to be encrypted")

    def _send_now(self, left: memoryview) -> memoryview:
        """Send what the socket takes, which is a record a call, and return the rest."""
        for _ in range(_RECORDS):
            if not left:
                break
            try:
                left = left[self._socket.send(left) :]
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
        return left

    async def receive_into(self, view: memoryview) -> int:
        count = end = await self._when_ready(self._socket.recv_into, view)
        while count and end < len(view):
            try:
                count = self._socket.recv_into(view[end:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            end += count
        return end

    def quiet(self) -> bool:
        return not self._socket.pending() and not _readable(self._socket.fileno())

    def close(self) -> None:
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    async def _when_ready(self, operation: Callable[..., T], *arguments: object) -> T:
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return operation(*arguments)
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self._socket)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self._socket)


def _readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _os_error(error: BaseException) -> OSError:
    """Trio keeps the system's error in the cause."""
    return error.__cause__ if isinstance(error.__cause__, OSError) else OSError(str(error))


def reason_of(error: BaseException) -> str:
    """The system's or OpenSSL's words for a failed read or write."""
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)[:160]
