"""One call on the server: from its headers to its status."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import structlog
import trio

from tricorn.grpc import hpack_literals
from tricorn.grpc.events import ErrorCode, StreamGone
from tricorn.grpc.framing import PREFIX_SIZE, Outgoing, RawMessage
from tricorn.grpc.metadata import Request, encode_metadata
from tricorn.grpc.method import Call, Method
from tricorn.grpc.status import Code, RpcError, Status, encode_message
from tricorn.grpc.stream import Link, Stream

log = structlog.get_logger(__name__)
_OK: Final = Status(Code.OK)
_DEADLINE: Final = Status(Code.DEADLINE_EXCEEDED, "the deadline of the call is over")
_TORN: Final = Status(Code.INTERNAL, "a message was cut off")
STOPPING: Final = Status(Code.UNAVAILABLE, "server is shutting down")


class Service(Protocol):
    """What a call asks of its server."""

    before: Callable[[Call], Awaitable[None] | None] | None
    translate: Callable[[BaseException], Status]


class ServerCall:
    """Runs the handler, and sends what it answers. Implements `Call`."""

    def __init__(self, link: Link, service: Service, peer: Any, method: Method, number: int) -> None:
        self._link = link
        self._service = service
        self._head_sent = False
        self._gone = False
        self._stopped = False
        self._trailing: list[tuple[bytes, bytes]] | None = None
        self._status = _OK
        self._result: RawMessage | None = None
        self._request: Any = None  # when it was looked at before the handler began
        self._unreadable: RpcError | None = None  # what it was then instead
        self.stream = Stream(link, number)
        self.scope = trio.CancelScope()
        self.peer = peer
        self.method = method
        self.metadata: dict[str, str] = {}
        self.binary_metadata: dict[str, bytes] = {}
        self.deadline: float | None = None
        self.code = Code.CANCELLED  # with which the call ended, once it has

    def accept(self, request: Request, timeout: float | None) -> None:
        """Take over what the headers say."""
        self.metadata = request.metadata
        self.binary_metadata = request.binary
        if timeout is not None:
            self.deadline = self.scope.deadline = trio.current_time() + timeout

    # ------------------------------------------------------------ the connection's side
    def _unwanted(self) -> bool:
        """Whether nobody wants an answer any more."""
        return self._gone

    def client_gone(self) -> None:
        """The client cancelled, or the connection is lost: nobody wants an answer."""
        self._gone = True
        self.scope.cancel()

    def stop(self) -> None:
        """Cut the call off; its client is told that the server stops."""
        self._stopped = True
        self.scope.cancel()

    async def is_quick(self) -> bool:
        """Whether it is to be answered before the connection is read on; all of its request is here."""
        quick = self.method.quick
        if isinstance(quick, bool):
            return quick
        try:
            self._request = await self.receive()
        except RpcError as error:
            self._unreadable = error  # told by `work`
        return self._request is None or quick(self._request)

    async def work(self) -> None:
        """Have the handler do its work, for `finish` to answer. Raises nothing but cancellation."""
        if self._unwanted():  # before it began
            return
        try:
            with self.scope:
                self._result = await self._handle()
        except RpcError as error:
            self._status = error.status
        except Exception as error:  # noqa: BLE001 - the translator knows what is whose fault
            self._status = self._translate(error)
        if self.scope.cancelled_caught:
            self._status = STOPPING if self._stopped else _DEADLINE

    @property
    def answers_at_once(self) -> bool:
        """Whether `finish` will not wait for the client."""
        return self._result is None or self._unwanted() or self._fits(self._result)

    async def finish(self) -> None:
        """Answer, and set `code`. Raises nothing but cancellation."""
        if self._unwanted():
            self.stream.close()
        else:
            self.code = await self._finish(self._status, self._result)

    async def _handle(self) -> RawMessage | None:
        if self._service.before is not None and (waiting := self._service.before(self)) is not None:
            await waiting
        method = self.method
        if method.client_streaming:
            answer = await method.handler(self)
        else:
            if self._unreadable is not None:
                raise self._unreadable
            request = await self.receive() if self._request is None else self._request
            if request is None:
                raise RpcError.of(Code.INTERNAL, "the call has no request message")
            answer = await method.handler(self, request)
        return None if method.server_streaming and answer is None else _serialise(answer)

    def _translate(self, error: Exception) -> Status:
        try:
            return self._service.translate(error)
        except Exception:
            number = uuid.uuid4().hex[:12]
            log.exception("an error could not be told to the client", id=number, method=self.method.path)
            return Status(Code.INTERNAL, f"the server made a mistake (id {number}, see its log)")

    async def _finish(self, status: Status, answer: RawMessage | None) -> Code:
        try:
            if answer is not None and status.code is Code.OK:
                status = await self._answer(answer)
            if self.stream.torn and status.code is Code.OK:
                status = _TORN
            if not self._unwanted():
                self._end(status)
        except StreamGone:
            self._gone = True
        finally:
            self._link.engine.reset(self.stream.number, ErrorCode.INTERNAL_ERROR)  # unless it is closed
            self.stream.close()
            self._link.flush()
        return Code.CANCELLED if self._unwanted() else status.code

    async def _answer(self, answer: RawMessage) -> Status:
        """Send the only answer; return the status that follows it."""
        if self._fits(answer):
            self._head()
            outgoing = Outgoing(answer)
            self._link.engine.data(self.stream.number, outgoing, outgoing.left)
            return _OK
        with trio.CancelScope(deadline=self.scope.deadline) as self.scope:
            if self._stopped:
                self.scope.cancel()
            try:
                await self._send_raw(answer)
            except RpcError as error:
                return error.status
        if self.scope.cancelled_caught:
            return STOPPING if self._stopped else _DEADLINE
        return _OK

    # ------------------------------------------------------------ the handler's side
    async def receive(self) -> Any:
        data = await self.stream.receive()
        if data is None:
            return None
        try:
            return self.method.request.FromString(data)
        except Exception as error:
            raise RpcError.of(Code.INTERNAL, "the request message can't be parsed") from error

    async def send(self, message: Any) -> None:
        await self._send_raw(_serialise(message))

    def set_trailing(self, name: str, value: str | bytes) -> None:
        if self._trailing is None:
            self._trailing = []
        self._trailing.append(encode_metadata(name, value))

    # ------------------------------------------------------------ the wire
    async def _send_raw(self, message: RawMessage) -> None:
        try:
            self._head()
        except StreamGone:
            raise RpcError.of(Code.CANCELLED, "the client is gone") from None
        await self.stream.send(message)

    def _head(self) -> None:
        if self._head_sent:
            return
        self._link.engine.headers(self.stream.number, hpack_literals.GRPC_HEAD, end=False)
        self._head_sent = True

    def _fits(self, answer: RawMessage) -> bool:
        """Whether the answer can go with its headers and trailers, in one piece."""
        room = min(self._link.engine.room(self.stream.number))
        return not self._link.outbox.full and room >= answer.size + PREFIX_SIZE

    def _end(self, status: Status) -> None:
        """Send the trailers; tell a client that still sends that it needn't."""
        engine, number = self._link.engine, self.stream.number
        trailers = self._trailers(status)
        engine.headers(number, trailers if self._head_sent else hpack_literals.GRPC_HEAD + trailers, end=True)
        engine.reset(number, ErrorCode.NO_ERROR)

    def _trailers(self, status: Status) -> bytes:
        if status is _OK and self._trailing is None:
            return hpack_literals.GRPC_OK
        fields = [(b"grpc-status", b"%d" % status.code)]
        if status.message:
            fields.append((b"grpc-message", encode_message(status.message)))
        if status.details:
            fields.append(encode_metadata("status-details-bin", status.details))
            fields[-1] = (b"grpc-status-details-bin", fields[-1][1])
        return hpack_literals.block(fields + (self._trailing or []))


def _serialise(message: Any) -> RawMessage:
    if isinstance(message, RawMessage):
        return message
    return RawMessage((message.SerializeToString(),))
