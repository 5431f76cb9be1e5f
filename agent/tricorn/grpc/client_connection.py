"""The client's connection: opens calls, and tells each what its server said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import trio

from tricorn.grpc.client_call import ClientCall, deadline_after
from tricorn.grpc.connection import Connection
from tricorn.grpc.events import (
    DataReceived,
    Event,
    GoneAway,
    HeadersReceived,
    StreamGone,
    StreamReset,
    WindowOpened,
)
from tricorn.grpc.metadata import encode_metadata, encode_timeout
from tricorn.grpc.status import Code, RpcError, Status


class ClientConnection(Connection):
    """One connection to a server. `lost` says why it is no good for more calls, None while it is."""

    def __init__(self, stream: trio.abc.Stream, authority: str) -> None:
        super().__init__(stream, client=True)
        self._authority = authority.encode("ascii")
        self._calls: dict[int, ClientCall] = {}
        self._slots = trio.lowlevel.ParkingLot()
        self.lost: str | None = None

    async def serve(self) -> None:
        """Send and receive until either side leaves. Never raises because of what the server does."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send)
            nursery.start_soon(self.answer_pings)
            await self.converse()
            self.lose("the connection is lost")
            await self.say_goodbye()
            nursery.cancel_scope.cancel()

    async def _send(self) -> None:
        try:
            await self.outbox.run()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.lose("the connection is lost")

    def lose(self, why: str) -> None:
        """End all calls, and refuse new ones."""
        self.lost = self.lost or why
        self._slots.unpark_all()
        for call in list(self._calls.values()):
            call.fail(Status(Code.UNAVAILABLE, self.lost))

    async def open(
        self,
        path: str,
        response_class: Any,
        metadata: Iterable[tuple[str, str | bytes]],
        timeout: float | None,
    ) -> ClientCall:
        """Begin a call, waiting while the server allows no more of them."""
        fields = self._fields(path, metadata, timeout)
        deadline = deadline_after(timeout)
        with trio.CancelScope(deadline=deadline):
            await trio.lowlevel.checkpoint_if_cancelled()
            while self.lost is None and self.engine.streams >= self.engine.stream_limit:
                await self._slots.park()
            return self._begin(fields, response_class, deadline)
        raise RpcError.of(Code.DEADLINE_EXCEEDED, "the deadline of the call is over")

    def _begin(self, fields: list[tuple[bytes, bytes]], response_class: Any, deadline: float) -> ClientCall:
        if self.lost is not None:
            raise RpcError.of(Code.UNAVAILABLE, self.lost)
        try:
            number = self.engine.request(fields)
        except StreamGone as error:
            raise RpcError.of(Code.UNAVAILABLE, str(error)) from None
        call = ClientCall(self, number, response_class, deadline)
        call.on_close = lambda: self._closed(number)
        self._calls[number] = call
        return call

    def _closed(self, number: int) -> None:
        self._calls.pop(number, None)
        self._slots.unpark()

    def _fields(
        self, path: str, metadata: Iterable[tuple[str, str | bytes]], timeout: float | None
    ) -> list[tuple[bytes, bytes]]:
        fields = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", self._authority),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        ]
        if timeout is not None:
            fields.append((b"grpc-timeout", encode_timeout(timeout)))
        return fields + [encode_metadata(name, value) for name, value in metadata]

    # ------------------------------------------------------------ events
    async def settle(self) -> None:
        """Nothing is put off."""

    def on_event(self, event: Event) -> None:
        match event:
            case GoneAway():
                self._on_goaway(event)
            case WindowOpened():
                self.open_windows(event.stream, self._calls)
            case HeadersReceived() | DataReceived() | StreamReset():
                call = self._calls.get(event.stream)
                if call is not None:
                    self._tell(call, event)
                elif isinstance(event, DataReceived):
                    self.engine.consumed(event.stream, event.size)
            case _:  # the settings: there may be more slots now
                self._slots.unpark()

    def _tell(self, call: ClientCall, event: HeadersReceived | DataReceived | StreamReset) -> None:
        match event:
            case HeadersReceived():
                call.on_headers(event)
            case DataReceived():
                call.stream.feed(event)
                if event.ended:
                    call.on_end()
            case StreamReset():
                call.on_reset(event.code)

    def _on_goaway(self, event: GoneAway) -> None:
        """Streams up to the last one go on; later ones were never looked at."""
        self.lost = self.lost or f"the server takes no more calls (HTTP/2 error {event.code})"
        self._slots.unpark_all()
        for number, call in list(self._calls.items()):
            if number > event.last:
                call.fail(Status(Code.UNAVAILABLE, self.lost))
