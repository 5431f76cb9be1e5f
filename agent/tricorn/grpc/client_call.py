"""One call on the client: messages out and in, and the status at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import trio

from tricorn.grpc.events import ErrorCode, HeadersReceived
from tricorn.grpc.framing import RawMessage
from tricorn.grpc.metadata import parse_trailers
from tricorn.grpc.status import Code, RpcError, Status, code_of, decode_message, status_of_http
from tricorn.grpc.stream import Link, Stream

_OF_RESET: Final = {
    ErrorCode.REFUSED_STREAM: Code.UNAVAILABLE,
    ErrorCode.CANCEL: Code.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: Code.RESOURCE_EXHAUSTED,
}
_NO_STATUS: Final = Status(Code.INTERNAL, "the server ended the call without a status")


class ClientCall:
    """A call under way. `headers` and `trailers` are the metadata of the answer, as they come."""

    def __init__(self, link: Link, number: int, response_class: Any, deadline: float) -> None:
        self._link = link
        self._response_class = response_class
        self._deadline = deadline
        self._status: Status | None = None
        self._http: Status | None = None  # what to make of an answer that isn't gRPC
        self._answered = False
        self._sent_all = False
        self.stream = Stream(link, number)
        self.on_close: Callable[[], None] = lambda: None
        self.headers: Mapping[str, str] = {}
        self.trailers: Mapping[str, str] = {}
        self.binary_trailers: Mapping[str, bytes] = {}

    # ------------------------------------------------------------ the caller's side
    async def send(self, message: Any, *, end: bool = False) -> None:
        """Send a message (or RawMessage); with `end`, the last one. RpcError if the call ended meanwhile."""
        if self._sent_all:
            raise RuntimeError("nothing can be sent after the last message")
        self._sent_all = end
        raw = message if isinstance(message, RawMessage) else RawMessage((message.SerializeToString(),))
        with trio.CancelScope(deadline=self._deadline) as scope:
            try:
                await self.stream.send(raw, end=end)
            except RpcError as error:
                raise self._failure(error) from None
        if scope.cancelled_caught:
            raise self._late()

    async def receive(self) -> Any:
        """Return the next message, None after the last. RpcError when the call ended with another status
        than OK, after the messages that came before it.
        """
        with trio.CancelScope(deadline=self._deadline) as scope:
            try:
                data = await self.stream.receive()
            except RpcError as error:
                raise self._failure(error) from None
            if data is not None:
                return self._parse(data)
            if self._status is not None and self._status.code is not Code.OK:
                raise RpcError(self._status)
            return None
        raise self._late() if scope.cancelled_caught else AssertionError

    async def finish(self) -> None:
        """Wait for the status; raise RpcError if it isn't OK, or if there are more messages."""
        if await self.receive() is not None:
            raise RpcError.of(Code.INTERNAL, "the server sent more than one answer")

    def close_send(self) -> None:
        """Say that no more messages come."""
        if not self._sent_all and self._status is None and self._link.engine.is_open(self.stream.number):
            self._sent_all = True
            self._link.engine.end(self.stream.number)
            self._link.flush()

    def close(self) -> None:
        """End the call; the server is told if it hasn't ended by itself."""
        self._link.engine.reset(self.stream.number, ErrorCode.CANCEL)
        self.stream.close()
        self._link.flush()
        self.on_close()

    def _parse(self, data: bytes) -> Any:
        try:
            return self._response_class.FromString(data)
        except Exception as error:
            raise RpcError.of(Code.INTERNAL, "the answer can't be parsed") from error

    def _failure(self, error: RpcError) -> RpcError:
        return (
            RpcError(self._status) if self._status is not None and self._status.code is not Code.OK else error
        )

    def _late(self) -> RpcError:
        return RpcError.of(Code.DEADLINE_EXCEEDED, "the deadline of the call is over")

    # ------------------------------------------------------------ the connection's side
    def on_headers(self, event: HeadersReceived) -> None:
        """Take headers, or trailers, or both in one."""
        try:
            entries, binary = parse_trailers(event.fields)
        except RpcError as error:
            self.fail(error.status)
            return
        if not self._answered:
            self._answered = True
            self._check(entries)
            self.headers = entries
        if event.ended:
            self.trailers, self.binary_trailers = entries, binary
            self._end(entries, binary)

    def on_end(self) -> None:
        """The server ended the stream with data: without a status."""
        self.fail(self._http or _NO_STATUS)

    def on_reset(self, code: int) -> None:
        """The server broke the stream off."""
        why = f"the server reset the stream (HTTP/2 error {code})"
        self.fail(self._http or Status(_OF_RESET.get(code, Code.INTERNAL), why))

    def fail(self, status: Status) -> None:
        """End the call with `status`, unless it has one."""
        if self._status is None:
            self._status = status
            self.stream.fail(RpcError(status))

    def _check(self, entries: Mapping[str, str]) -> None:
        status = entries.get(":status", "")
        if status != "200":
            self._http = status_of_http(int(status) if status.isascii() and status.isdecimal() else 0)

    def _end(self, entries: Mapping[str, str], binary: Mapping[str, bytes]) -> None:
        number = entries.get("grpc-status", "")
        if not (number.isascii() and number.isdecimal() and len(number) < 4):
            self.fail(self._http or _NO_STATUS)
            return
        message = decode_message(entries.get("grpc-message", "").encode())
        status = Status(code_of(int(number)), message, binary.get("grpc-status-details-bin", b""))
        if status.code is not Code.OK:
            self.fail(status)
        elif self._status is None:
            self._status = status
            self.stream.finish()
            self.stream.open_window()


def deadline_after(timeout: float | None) -> float:
    """Return the time of Trio's clock in `timeout` seconds; None is never."""
    return math.inf if timeout is None else trio.current_time() + timeout
