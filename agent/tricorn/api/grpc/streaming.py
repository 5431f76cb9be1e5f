"""containerd's streaming service: streams that a client opens under an id for another call to use."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from tricorn import wire
from tricorn.api.grpc.face import Face, FaceCall, rpc
from tricorn.api.grpc.stream_bytes import BYTES
from tricorn.errors import InvalidArgument
from tricorn.rules.authorise import Role

INIT: Final = wire.message("containerd.services.streaming.v1.StreamInit")
EMPTY: Final = wire.message("google.protobuf.Empty")


class StreamingFace(Face):
    service: ClassVar[str] = "containerd.services.streaming.v1.Streaming"

    @rpc("Stream", Role.OPERATE, endless=True)
    async def stream(self, call: FaceCall) -> None:
        first = await call.receive()
        if first is None:
            raise InvalidArgument("a stream begins with its id", field="id")
        init = wire.unpack(first)
        if not isinstance(init, INIT):
            raise InvalidArgument("a stream begins with a StreamInit", why=f"not with {first.type_url[:200]}")

        async def opened() -> None:
            await call.send(wire.any_of(EMPTY()))

        async def send(message: Any) -> None:
            await call.send(wire.any_of(message))

        async def receive() -> Any | None:
            message = await call.receive()
            return None if message is None else wire.unpack(message)

        await self.services.streams.serve(
            call.namespace,
            init.id,
            framing=BYTES,
            lease=call.lease,
            opened=opened,
            send=send,
            receive=receive,
        )
