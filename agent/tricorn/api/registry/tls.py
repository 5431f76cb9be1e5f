"""The server's end of TLS on a socket of its own.

Trio's SSLStream hands out one record of 16 KiB a call, through two buffers; a dump has thousands of them.
Here OpenSSL works on the socket itself, and one call reads all the records that have arrived.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

import trio

_AT_ONCE = 256 * 1024
_CROSSED = 0.005  # seconds to wait when reader and writer want the socket for the same

T = TypeVar("T")


class TlsServerStream(trio.abc.Stream):
    """One task may read while another writes. A close without TLS's goodbye counts as a close: HTTP has its
    own ends.
    """

    def __init__(self, stream: trio.SocketStream, context: ssl.SSLContext) -> None:
        bare = socket.socket(fileno=stream.socket.detach())
        bare.settimeout(0)
        bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = context.wrap_socket(bare, server_side=True, do_handshake_on_connect=False)
        self._room = memoryview(bytearray(_AT_ONCE))

    async def do_handshake(self) -> None:
        """Agree on keys and check the certificate. BrokenResourceError, with OpenSSL's words in its cause."""
        await self._when_ready(self.socket.do_handshake)

    def certificate(self) -> dict[str, Any]:
        """Return what the peer has shown."""
        return dict(self.socket.getpeercert() or {})

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what has arrived, b"" at the end."""
        room = self._room[:max_bytes]
        try:
            count = end = await self._when_ready(self.socket.recv_into, room)
        except trio.BrokenResourceError as error:
            if isinstance(error.__cause__, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionResetError):
                return b""
            raise
        while count and end < len(room):
            try:
                count = self.socket.recv_into(room[end:])
            except OSError:  # the next call tells
                break
            end += count
        return bytes(room[:end])

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it. BrokenResourceError when the peer has gone."""
        left = memoryview(data)
        while left:
            left = left[await self._when_ready(self.socket.send, left) :]

    async def wait_send_all_might_not_block(self) -> None:
        """Return when the socket takes bytes."""
        await trio.lowlevel.wait_writable(self.socket)

    async def aclose(self) -> None:
        """Close at once."""
        if self.socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()
        await trio.lowlevel.checkpoint()

    async def _when_ready(self, operation: Callable[..., T], *arguments: object) -> T:
        await trio.lowlevel.checkpoint()
        while True:
            if self.socket.fileno() < 0:
                raise trio.ClosedResourceError
            try:
                return operation(*arguments)
            except ssl.SSLWantReadError:
                await self._wait(trio.lowlevel.wait_readable)
            except ssl.SSLWantWriteError:
                await self._wait(trio.lowlevel.wait_writable)
            except OSError as error:
                raise trio.BrokenResourceError(str(error)[:200]) from error

    async def _wait(self, wait: Callable[[socket.socket], Any]) -> None:
        try:
            await wait(self.socket)
        except trio.BusyResourceError:  # a change of keys: the other task waits for the same
            await trio.sleep(_CROSSED)
