"""gRPC's own health service: SERVING from the moment the agent is up to date.

While it stops, Check and Watch are cut off with everything else: UNAVAILABLE is gRPC's word for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import trio

from tricorn import wire
from tricorn.api.grpc.face import OPEN, Face, FaceCall, rpc
from tricorn.errors import NotFound
from tricorn.rules.authorise import Role
from tricorn.service import Services

_MESSAGES: Final = wire.package("grpc.health.v1")
_SERVING, _NOT_SERVING, _UNKNOWN = "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"


class HealthFace(Face):
    service = "grpc.health.v1.Health"

    def __init__(self, services: Services, ready: trio.Event, known: Sequence[str]) -> None:
        super().__init__(services)
        self._ready = ready
        self._known = frozenset(["", *known])

    @rpc("Check", Role.NONE, scope=OPEN, early=True, quick=True)
    async def check(self, _call: FaceCall, request: Any) -> Any:
        if request.service not in self._known:
            raise NotFound(f"unknown service {request.service[:200]!r}", field="service")
        return self._answer(_SERVING if self._ready.is_set() else _NOT_SERVING)

    @rpc("Watch", Role.NONE, scope=OPEN, early=True, endless=True)
    async def watch(self, call: FaceCall, request: Any) -> None:
        if request.service not in self._known:
            await call.send(self._answer(_UNKNOWN))
            await trio.sleep_forever()  # no service comes into being while we run
        if not self._ready.is_set():
            await call.send(self._answer(_NOT_SERVING))
            await self._ready.wait()
        await call.send(self._answer(_SERVING))
        await trio.sleep_forever()

    @staticmethod
    def _answer(status: str) -> Any:
        return _MESSAGES.HealthCheckResponse(status=status)
