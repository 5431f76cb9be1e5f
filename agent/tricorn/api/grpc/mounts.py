"""containerd's mount service: activations that the agent makes and keeps for clients."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from tricorn import wire
from tricorn.api.grpc.face import Face, FaceCall, rpc
from tricorn.api.grpc.mount_messages import mount_messages, mounts_of
from tricorn.rules.authorise import Role
from tricorn.service.mounts import Activation, ActiveMount

mounts: Final = wire.package("containerd.services.mounts.v1")
EMPTY: Final = wire.message("google.protobuf.Empty")
ACTIVATION: Final = wire.message("containerd.types.ActivationInfo")
ACTIVE: Final = wire.message("containerd.types.ActiveMount")


class MountsFace(Face):
    service: ClassVar[str] = "containerd.services.mounts.v1.Mounts"

    @rpc("Activate", Role.OPERATE)
    async def activate(self, call: FaceCall, request: Any) -> Any:
        made = await self.services.mounts.activate(
            call.namespace, request.name, mounts_of(request.mounts), temporary=request.temporary,
            labels=dict(request.labels), lease=call.lease,
        )  # fmt: skip
        return mounts.ActivateResponse(info=_info(made))

    @rpc("Deactivate", Role.OPERATE)
    async def deactivate(self, call: FaceCall, request: Any) -> Any:
        await self.services.mounts.deactivate(call.namespace, request.name)
        return EMPTY()

    @rpc("Info", Role.READ)
    async def info(self, call: FaceCall, request: Any) -> Any:
        return mounts.InfoResponse(info=_info(await self.services.mounts.info(call.namespace, request.name)))

    @rpc("Update", Role.OPERATE)
    async def update(self, call: FaceCall, request: Any) -> Any:
        changed = await self.services.mounts.update(
            call.namespace, request.info.name, dict(request.info.labels), tuple(request.update_mask.paths)
        )
        return mounts.UpdateResponse(info=_info(changed))

    @rpc("List", Role.READ)
    async def list(self, call: FaceCall, request: Any) -> None:
        for found in await self.services.mounts.list(call.namespace, tuple(request.filters)):
            await call.send(mounts.ListMessage(info=_info(found)))


def _info(activation: Activation) -> Any:
    return ACTIVATION(
        name=activation.name,
        active=map(_active, activation.active),
        system=mount_messages(activation.system),
        labels=activation.labels,
    )


def _active(item: ActiveMount) -> Any:
    return ACTIVE(
        mount=mount_messages([item.mount])[0],
        mounted_at=wire.timestamp(item.mounted_at),
        mount_point=item.mount_point,
    )
