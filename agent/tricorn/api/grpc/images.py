"""containerd's image service: names for descriptors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from tricorn import wire
from tricorn.api.grpc.face import Face, FaceCall, rpc
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.model.records import Image
from tricorn.rules.authorise import Role

images: Final = wire.package("containerd.services.images.v1")
DESCRIPTOR: Final = wire.message("containerd.types.Descriptor")
EMPTY: Final = wire.message("google.protobuf.Empty")
_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)  # a date of its own for reproducible builds, not "unset"


class ImagesFace(Face):
    service: ClassVar[str] = "containerd.services.images.v1.Images"

    @rpc("Get", Role.READ, quick=True)
    async def get(self, call: FaceCall, request: Any) -> Any:
        found = await self.services.image_records.get(call.namespace, request.name)
        return images.GetImageResponse(image=_message(found))

    @rpc("List", Role.READ)
    async def list(self, call: FaceCall, request: Any) -> Any:
        found = await self.services.image_records.list(call.namespace, tuple(request.filters))
        return images.ListImagesResponse(images=map(_message, found))

    @rpc("Create", Role.OPERATE)
    async def create(self, call: FaceCall, request: Any) -> Any:
        made = await self.services.image_records.create(
            call.namespace, _image(request.image), lease=call.lease, at=_epoch(request)
        )
        return images.CreateImageResponse(image=_message(made))

    @rpc("Update", Role.OPERATE)
    async def update(self, call: FaceCall, request: Any) -> Any:
        changed = await self.services.image_records.update(
            call.namespace, _image(request.image), tuple(request.update_mask.paths), lease=call.lease,
            at=_epoch(request),
        )  # fmt: skip
        return images.UpdateImageResponse(image=_message(changed))

    @rpc("Delete", Role.OPERATE)
    async def delete(self, call: FaceCall, request: Any) -> Any:
        target = request.target.digest
        await self.services.image_records.delete(
            call.namespace, request.name, target=Digest.parse(target, "target.digest") if target else None,
            sync=request.sync, lease=call.lease,
        )  # fmt: skip
        return EMPTY()


def _epoch(request: Any) -> datetime | None:
    if not request.HasField("source_date_epoch"):
        return None
    stamp = request.source_date_epoch
    return wire.datetime_of(stamp) or (None if stamp.seconds else _1970)


def _image(message: Any) -> Image:
    """Return what the message says; whether it makes sense is the service's to check."""
    target = message.target
    descriptor = Descriptor(
        target.media_type, Digest(target.digest), target.size, annotations=dict(target.annotations)
    )
    return Image(message.name, descriptor, dict(message.labels))


def _message(image: Image) -> Any:
    target = image.target
    return images.Image(
        name=image.name,
        labels=image.labels,
        target=DESCRIPTOR(
            media_type=target.media_type,
            digest=target.digest,
            size=target.size,
            annotations=target.annotations,
        ),
        created_at=wire.timestamp(image.created_at),
        updated_at=wire.timestamp(image.updated_at),
    )
