"""Opens the gRPC door when its first client knocks: until then, none of its libraries is in memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from tricorn.rules.authorise import Authoriser, Peer

if TYPE_CHECKING:
    from tricorn.api.grpc.site import GrpcApi
    from tricorn.api.metrics import Metrics
    from tricorn.service import Services

_LIMITER = trio.CapacityLimiter(1)


class GrpcDoor:
    """A ConnectionHandler for HTTP/2 (`api.listen`)."""

    def __init__(
        self, services: Services, *, authoriser: Authoriser, metrics: Metrics, ready: trio.Event
    ) -> None:
        self._authoriser = authoriser
        self._make = lambda: _make(services, metrics, ready)
        self._opening = trio.Lock()
        self._api: GrpcApi | None = None
        self._draining = False
        metrics.watch("grpc", self.statistics)

    @property
    def authoriser(self) -> Authoriser:
        return self._authoriser

    @authoriser.setter
    def authoriser(self, authoriser: Authoriser) -> None:
        self._authoriser = authoriser
        if self._api is not None:
            self._api.authoriser = authoriser

    async def open(self) -> GrpcApi:
        """Load what the door is made of, the first time; return what serves behind it."""
        async with self._opening:
            if self._api is None:
                made = await trio.to_thread.run_sync(self._make, limiter=_LIMITER)
                self._api = made(self._authoriser)
                if self._draining:
                    self._api.drain()
        return self._api

    async def serve_connection(self, stream: trio.SocketStream, peer: Peer, first_bytes: bytes) -> None:
        api = await self.open()
        await api.serve_connection(stream, peer, first_bytes)

    def drain(self) -> None:
        self._draining = True
        if self._api is not None:
            self._api.drain()

    def abort(self) -> None:
        if self._api is not None:
            self._api.abort()

    def shed(self) -> bool:
        return self._api is not None and self._api.shed()

    def statistics(self) -> dict[str, Any]:
        return self._api.statistics() if self._api is not None else {}


def _make(services: Services, metrics: Metrics, ready: trio.Event) -> Callable[[Authoriser], GrpcApi]:
    """Import the door's code (some 100 ms, so in a thread), and return what makes the door."""
    from tricorn.api.grpc.site import GrpcApi

    gc.freeze()  # it stays: no collection needs to look at it
    return lambda authoriser: GrpcApi(services, authoriser=authoriser, metrics=metrics, ready=ready)
