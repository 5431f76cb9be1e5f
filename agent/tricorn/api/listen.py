"""Accepts connections, tells HTTP/1.1 from HTTP/2 by the first bytes, and owns every connection's task."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import Final, Protocol

import structlog
import trio
from attrs import define

from tricorn import limits
from tricorn.api.access import peer_of
from tricorn.rules.authorise import Peer

log = structlog.get_logger(__name__)
_HTTP2_PREFACE: Final = b"PRI"
_SNIFF: Final = 64 * limits.KIB
_ACCEPT_PAUSE: Final = 0.2  # seconds to wait for descriptors or memory to come back
_ABORT_WAIT: Final = 1.0  # seconds for the last words to clients whose work was cut off
_OUT_OF_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class ConnectionHandler(Protocol):
    """Serves connections of one protocol."""

    async def serve_connection(self, stream: trio.SocketStream, peer: Peer, first_bytes: bytes) -> None:
        """Serve until the connection ends. The caller closes the stream."""
        ...

    def drain(self) -> None:
        """Close idle connections now, busy ones after their current request."""
        ...

    def abort(self) -> None:
        """Cut current requests off; their clients are told."""
        ...

    def shed(self) -> bool:
        """Close the connection that has been idle longest, and return whether there was one."""
        ...


@define
class _Counts:
    accepted: int = 0
    refused: int = 0
    failed: int = 0
    open: int = 0


class Listener:
    """Serves `sockets` until `stop`. A failing connection fails alone."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        *,
        http1_handler: ConnectionHandler,
        http2_handler: ConnectionHandler | None = None,
        connections: int = limits.HTTP_CONNECTIONS,
    ) -> None:
        self._sockets = [trio.socket.from_stdlib_socket(item) for item in sockets]
        self._http1 = http1_handler
        self._http2 = http2_handler
        self._slots = trio.Semaphore(connections, max_value=connections)
        self._counts = _Counts()
        self._accepting = trio.CancelScope()
        self._serving = trio.CancelScope()
        self._changed = trio.Event()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept and serve; return when `stop` has come to its end."""
        try:
            with self._serving:
                async with trio.open_nursery() as nursery:
                    task_status.started()
                    with self._accepting:
                        async with trio.open_nursery() as acceptors:
                            for listener in self._sockets:
                                acceptors.start_soon(self._accept_from, listener, nursery)
        finally:
            self._close_sockets()

    async def stop(self, grace: float = limits.DRAIN_DEADLINE) -> None:
        """Accept no more, let busy connections finish for `grace` seconds, then cut them off."""
        self._accepting.cancel()
        self._close_sockets()
        handlers = [handler for handler in (self._http1, self._http2) if handler is not None]
        for handler in handlers:
            handler.drain()
        with trio.move_on_after(grace):
            await self._wait_empty()
        for handler in handlers:
            handler.abort()
        with trio.move_on_after(_ABORT_WAIT):
            await self._wait_empty()
        self._serving.cancel()

    def statistics(self) -> dict[str, int]:
        """Return the connections: open now; accepted, refused and failed since the start."""
        counts = self._counts
        return {
            "connections_open": counts.open,
            "connections_accepted": counts.accepted,
            "connections_refused": counts.refused,
            "connections_failed": counts.failed,
        }

    def _close_sockets(self) -> None:
        for listener in self._sockets:
            listener.close()

    async def _wait_empty(self) -> None:
        while self._counts.open:
            self._changed = trio.Event()
            await self._changed.wait()

    async def _accept_from(self, listener: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        while True:
            await self._take_slot()
            try:
                connection, _ = await listener.accept()
            except OSError as error:
                self._slots.release()
                if error.errno == errno.EBADF:  # closed by `stop`
                    return
                await self._refused(error)
            except trio.ClosedResourceError:
                return
            else:
                self._counts.accepted += 1
                self._counts.open += 1
                nursery.start_soon(self._connection, connection)

    async def _take_slot(self) -> None:
        if self._slots.value == 0 and not self._shed():
            log.warning("all connections are in use", limit=self._slots.max_value)
        await self._slots.acquire()

    def _shed(self) -> bool:
        return self._http1.shed() or (self._http2 is not None and self._http2.shed())

    async def _refused(self, error: OSError) -> None:
        self._counts.refused += 1
        reason = os.strerror(error.errno or 0)
        if error.errno in _OUT_OF_RESOURCES:
            log.error("cannot accept connections", why=reason, hint="raise LimitNOFILE of the service")
            self._shed()
            await trio.sleep(_ACCEPT_PAUSE)
        else:  # the client was gone before we came to it
            log.debug("connection lost before it was accepted", why=reason)

    async def _connection(self, connection: trio.socket.SocketType) -> None:
        stream = trio.SocketStream(connection)
        try:
            await self._serve(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            log.debug("connection broke")
        except Exception:
            self._counts.failed += 1
            log.exception("connection failed")
        finally:
            connection.close()  # at once: nothing is left to be said
            self._counts.open -= 1
            self._slots.release()
            self._changed.set()

    async def _serve(self, stream: trio.SocketStream) -> None:
        peer = peer_of(stream.socket)
        first = await _sniff(stream)
        if not first:
            return
        if not first.startswith(_HTTP2_PREFACE):
            await self._http1.serve_connection(stream, peer, first)
        elif self._http2 is not None:
            await self._http2.serve_connection(stream, peer, first)
        else:
            log.info("HTTP/2 connection closed", why="no gRPC service is configured", pid=peer.pid)


async def _sniff(stream: trio.SocketStream) -> bytes:
    """Return the first bytes, enough to tell the protocol; empty when the client left or sent nothing."""
    data = b""
    with trio.move_on_after(limits.HTTP_HEAD_TIMEOUT):
        while len(data) < len(_HTTP2_PREFACE) and _HTTP2_PREFACE.startswith(data):
            more = await stream.receive_some(_SNIFF)
            if not more:
                return b""
            data += bytes(more)
        return data
    return b""
