"""Which containerd answers."""

from __future__ import annotations

from typing import Any, Final

from tricorn import wire
from tricorn.api.grpc.face import OPEN, Face, FaceCall, rpc
from tricorn.rules.authorise import Role

_MESSAGES: Final = wire.package("containerd.services.version.v1")


class VersionFace(Face):
    service = "containerd.services.version.v1.Version"

    @rpc("Version", Role.READ, scope=OPEN, early=True, quick=True)
    async def version(self, _call: FaceCall, _request: Any) -> Any:
        found = await self.services.node.version()
        return _MESSAGES.VersionResponse(version=found["version"], revision=found["revision"])
