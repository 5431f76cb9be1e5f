"""containerd's content service: blobs by digest, and the transfers that bring them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from tricorn import wire
from tricorn.api.grpc.face import Face, FaceCall, rpc
from tricorn.errors import InvalidArgument
from tricorn.grpc import RawMessage
from tricorn.model.records import ContentInfo, IngestStatus
from tricorn.rules.authorise import Role
from tricorn.rules.varints import packed_varint
from tricorn.service.content_access import SMALL
from tricorn.service.content_writes import WriteAction, WriteRequest, WriteState

content: Final = wire.package("containerd.services.content.v1")
EMPTY: Final = wire.message("google.protobuf.Empty")
_INFOS: Final = 100  # in a message of a list, as containerd sends them
_OFFSET_TAG: Final = b"\x08"  # of ReadContentResponse: field 1, a varint
_DATA_TAG: Final = b"\x12"  # field 2, bytes


class ContentFace(Face):
    service: ClassVar[str] = "containerd.services.content.v1.Content"
    missing: ClassVar[Mapping[str, str]] = {}

    @rpc("Info", Role.READ, quick=True)
    async def info(self, call: FaceCall, request: Any) -> Any:
        found = await self.services.content.info(call.namespace, request.digest)
        return content.InfoResponse(info=_info(found))

    @rpc("Update", Role.OPERATE)
    async def update(self, call: FaceCall, request: Any) -> Any:
        given = request.info
        changed = await self.services.content.update(
            call.namespace, given.digest, dict(given.labels), tuple(request.update_mask.paths)
        )
        return content.UpdateResponse(info=_info(changed))

    @rpc("List", Role.READ)
    async def list(self, call: FaceCall, request: Any) -> None:
        found = await self.services.content.list(call.namespace, tuple(request.filters))
        for start in range(0, len(found), _INFOS):
            await call.send(content.ListContentResponse(info=map(_info, found[start : start + _INFOS])))

    @rpc("Delete", Role.OPERATE)
    async def delete(self, call: FaceCall, request: Any) -> Any:
        await self.services.content.delete(call.namespace, request.digest, lease=call.lease)
        return EMPTY()

    @rpc("Read", Role.READ, quick=lambda request: 0 < request.size <= SMALL)
    async def read(self, call: FaceCall, request: Any) -> RawMessage | None:
        """Send the bytes in pieces; offsets count from the first one asked for, as containerd's do."""
        sent = 0
        async with self.services.content.reader(
            call.namespace, request.digest, offset=request.offset, size=request.size
        ) as reader:
            while data := await reader.read():
                if not reader.left:
                    return piece(sent, data)
                await call.send(piece(sent, data))
                sent += len(data)
        return None

    @rpc("Status", Role.READ)
    async def status(self, call: FaceCall, request: Any) -> Any:
        found = await self.services.content.status(call.namespace, request.ref)
        return content.StatusResponse(status=_status(found))

    @rpc("ListStatuses", Role.READ)
    async def list_statuses(self, call: FaceCall, request: Any) -> Any:
        found = await self.services.content.statuses(call.namespace, tuple(request.filters))
        return content.ListStatusesResponse(statuses=map(_status, found))

    @rpc("Write", Role.OPERATE)
    async def write(self, call: FaceCall) -> None:
        """Answer each request once; the first names the ref, a commit ends the call."""
        message = await call.receive()
        if message is None:
            return
        if not message.ref:
            raise InvalidArgument("the first message must have a reference", field="ref")
        call.note(ref=message.ref[:300])
        async with self.services.content.writing(
            call.namespace, message.ref, total=message.total, expected=message.expected, lease=call.lease
        ) as writing:
            while message is not None:
                state = await writing.apply(_write_request(message))
                message = None  # its bytes are on disk: nobody holds them while the next ones come
                await call.send(_write_response(state))
                if state.action is WriteAction.COMMIT:
                    call.note(digest=state.digest)
                    return
                message = await call.receive()

    @rpc("Abort", Role.OPERATE)
    async def abort(self, call: FaceCall, request: Any) -> Any:
        await self.services.content.abort(call.namespace, request.ref)
        return EMPTY()


def piece(offset: int, data: bytes | memoryview) -> RawMessage:
    """Return a ReadContentResponse without copying its bytes."""
    head = _OFFSET_TAG + packed_varint(offset) if offset else b""
    return RawMessage((head + _DATA_TAG + packed_varint(len(data)), data))


def _info(info: ContentInfo) -> Any:
    return content.Info(
        digest=info.digest,
        size=info.size,
        created_at=wire.timestamp(info.created_at),
        updated_at=wire.timestamp(info.updated_at),
        labels=info.labels,
    )


def _status(status: IngestStatus) -> Any:
    return content.Status(
        ref=status.ref,
        offset=status.offset,
        total=status.total,
        expected=status.expected or "",
        started_at=wire.timestamp(status.started_at),
        updated_at=wire.timestamp(status.updated_at),
    )


def _write_request(message: Any) -> WriteRequest:
    try:
        action = WriteAction(message.action)
    except ValueError:
        raise InvalidArgument(f"there is no write action {message.action}", field="action") from None
    return WriteRequest(
        action, message.offset, message.data, message.total, message.expected, dict(message.labels)
    )


def _write_response(state: WriteState) -> Any:
    return content.WriteContentResponse(
        action=int(state.action),
        started_at=wire.timestamp(state.started_at),
        updated_at=wire.timestamp(state.updated_at),
        offset=state.offset,
        total=state.total,
        digest=state.digest,
    )
