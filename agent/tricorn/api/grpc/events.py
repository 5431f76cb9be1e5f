"""Events: those of clients go into the journal, and whoever subscribes reads from it."""

from __future__ import annotations

from typing import Any, Final

from tricorn import wire
from tricorn.api.grpc.event_payloads import envelope, unpacked
from tricorn.api.grpc.face import ANYWHERE, Face, FaceCall, rpc
from tricorn.api.http.replies import drawing_from
from tricorn.errors import DataLoss, InvalidArgument
from tricorn.model import ids
from tricorn.model.records import Event
from tricorn.rules.authorise import Role

_EMPTY: Final = wire.message("google.protobuf.Empty")


class EventsFace(Face):
    service = "containerd.services.events.v1.Events"

    @rpc("Publish", Role.OPERATE)
    async def publish(self, call: FaceCall, request: Any) -> Any:
        event = unpacked(request.topic, request.event)
        await self.services.events.publish(call.namespace, request.topic, event)
        return _EMPTY()

    @rpc("Forward", Role.OPERATE, scope=ANYWHERE)
    async def forward(self, call: FaceCall, request: Any) -> Any:
        """An event keeps its own namespace and time; the peer needs the role there."""
        given = request.envelope
        call.require(ids.namespace(given.namespace, "envelope.namespace"), Role.OPERATE)
        happened = wire.datetime_of(given.timestamp)
        if happened is None:
            raise InvalidArgument("the event has no time", field="envelope.timestamp")
        event = unpacked(given.topic, given.event)
        await self.services.events.publish(given.namespace, given.topic, event, happened)
        return _EMPTY()

    @rpc("Subscribe", Role.READ, scope=ANYWHERE, endless=True)
    async def subscribe(self, call: FaceCall, request: Any) -> None:
        """Sends what happens from now on, in all namespaces that the peer may read in.

        A subscriber so slow that the journal forgot what it has not read yet is told by DATA_LOSS.
        """
        events = aiter(self.services.events.stream(None, None, list(request.filters)))
        async with drawing_from(events):
            async for item in events:
                if not isinstance(item, Event):
                    raise DataLoss(
                        f"{item.count} events were lost",
                        why="the journal keeps a bounded number, and this subscriber was too slow",
                        hint="subscribe again, and look at the state of what you follow",
                    )
                if call.may_read(item.namespace or None):
                    await call.send(envelope(item))
