"""containerd's diff service: layers onto mounts, and layers of them."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from tricorn import wire
from tricorn.api.grpc.face import Face, FaceCall, rpc
from tricorn.api.grpc.mount_messages import mounts_of
from tricorn.errors import Unimplemented
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.rules.authorise import Role

diffs: Final = wire.package("containerd.services.diff.v1")
DESCRIPTOR: Final = wire.message("containerd.types.Descriptor")


class DiffFace(Face):
    service: ClassVar[str] = "containerd.services.diff.v1.Diff"

    @rpc("Apply", Role.OPERATE)
    async def apply(self, call: FaceCall, request: Any) -> Any:
        if request.payloads:
            raise Unimplemented(
                "payloads of stream processors", why="there are no stream processors", field="payloads"
            )
        layer = request.diff
        wanted = Descriptor(layer.media_type, Digest.parse(layer.digest, "diff.digest"), layer.size)
        applied = await self.services.diff.apply(
            call.namespace, wanted, mounts_of(request.mounts), sync=request.sync_fs
        )
        return diffs.ApplyResponse(applied=_message(applied))

    @rpc("Diff", Role.OPERATE)
    async def diff(self, call: FaceCall, request: Any) -> Any:
        stamped = request.HasField("source_date_epoch")
        made = await self.services.diff.diff(
            call.namespace, mounts_of(request.left), mounts_of(request.right), media_type=request.media_type,
            ref=request.ref, labels=dict(request.labels), lease=call.lease,
            epoch=request.source_date_epoch.seconds if stamped else None,
        )  # fmt: skip
        return diffs.DiffResponse(diff=_message(made))


def _message(descriptor: Descriptor) -> Any:
    return DESCRIPTOR(media_type=descriptor.media_type, digest=descriptor.digest, size=descriptor.size)
