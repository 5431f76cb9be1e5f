"""Serves gRPC calls on connections that somebody else accepts."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio
from attrs import define

from tricorn.connections import Connections
from tricorn.grpc.method import Call, Method
from tricorn.grpc.server_connection import ServerConnection
from tricorn.grpc.status import Code, Status

Observer = Callable[[str, Code, float], None]


@define
class _Counts:
    started: int = 0
    ended: int = 0
    failed: int = 0
    cancelled: int = 0
    violations: int = 0


class GrpcServer:
    """Answers the calls of `methods` (by path, `/package.Service/Method`).

    `before` is called (and awaited) with each call before its request is read; what it raises is the
    answer. `translate` makes a status of what a handler raised, RpcError excepted. `observe` is told the
    path, the code and the seconds of each call, also of those to unknown methods (path "unmatched").

    A handler is cancelled when the call's deadline is over, when its client cancels or is lost, and at
    `abort`.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        *,
        before: Callable[[Call], Awaitable[None] | None] | None = None,
        translate: Callable[[BaseException], Status],
        observe: Observer | None = None,
    ) -> None:
        self.methods = methods
        self.before = before
        self.translate = translate
        self._observe = observe
        self._connections: Connections[ServerConnection] = Connections()
        self._counts = _Counts()

    async def serve_connection(self, stream: trio.abc.Stream, peer: Any, first_bytes: bytes) -> None:
        """Serve one client until either side closes. Never raises because of what the client does."""
        connection = ServerConnection(stream, peer, self, first_bytes)
        try:
            await self._connections.serve(connection)
        finally:
            self._counts.violations += connection.violated

    def drain(self) -> None:
        """Close idle connections now, busy ones after their calls; cut endless calls off."""
        self._connections.drain()

    def abort(self) -> None:
        """Cut all calls off; their clients are told that the server stops."""
        self._connections.abort()

    def shed(self) -> bool:
        """Close the connection that has been idle longest, and return whether there was one."""
        return self._connections.shed()

    def statistics(self) -> dict[str, int]:
        """Return connections (open, idle, ended for breaking the protocol) and calls (open; since the start:
        all, failed, cancelled by their clients).
        """
        counts = self._counts
        return self._connections.statistics() | {
            "protocol_violations": counts.violations,
            "calls_open": counts.started - counts.ended,
            "calls_started": counts.started,
            "calls_failed": counts.failed,
            "calls_cancelled": counts.cancelled,
        }

    # ------------------------------------------------------------ told by the connections
    def started(self) -> float:
        """Count a call; return the time for `finished`."""
        self._counts.started += 1
        return time.perf_counter()

    def finished(self, path: str, code: Code, began: float) -> None:
        """Count a call's end."""
        counts = self._counts
        counts.ended += 1
        if code is Code.CANCELLED:
            counts.cancelled += 1
        elif code is not Code.OK:
            counts.failed += 1
        if self._observe is not None:
            self._observe(path, code, time.perf_counter() - began)
