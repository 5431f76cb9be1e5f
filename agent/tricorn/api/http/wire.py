"""The server's side of HTTP/1.1 without I/O: h11 behind the few words that a connection needs."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from http import HTTPStatus
from typing import Final

import h11
from attrs import frozen

from tricorn import limits
from tricorn.api.http.problems import HeadersTooLarge, malformed
from tricorn.errors import TricornError, Unimplemented

Headers = Sequence[tuple[str, str]]
_SERVER: Final = ("Server", "tricorn")


_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


class Mark(Enum):
    """What `next` says when it has neither a head nor bytes."""

    NEED_DATA = "need data"
    END = "end"  # of the request's body
    CLOSED = "closed"  # by the client, between requests


@frozen
class Head:
    """A request's first part; names of headers in lower case, repeated ones joined by commas."""

    method: str
    target: str
    headers: dict[str, str]

    def lists(self, header: str, token: str) -> bool:
        """Whether the comma-separated `header` has `token`, whatever its case and parameters."""
        items = self.headers.get(header, "").lower().split(",")
        return any(item.partition(";")[0].strip() == token for item in items)

    def upgrades_to(self, protocol: str) -> bool:
        return self.lists("connection", "upgrade") and self.lists("upgrade", protocol)


class Wire:
    """One connection's requests and answers, one after the other."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.HTTP_HEADERS)
        self._no_body = False
        self.head_only = False  # the current request is a HEAD, and its answer has no body

    def feed(self, data: bytes) -> None:
        """Take what the socket gave; empty means that the client sends no more."""
        self._http.receive_data(data)

    def next(self) -> Head | bytes | Mark:
        """Return the next part of the request. Raises the error to answer with when it is malformed;
        the connection must be closed after that answer.
        """
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise _refusal(error) from None
        match event:
            case h11.Request():
                head = _head(event)
                self.head_only = head.method == "HEAD"
                self._no_body = not head.headers.keys() & {"content-length", "transfer-encoding"}
                return head
            case h11.Data():
                return bytes(event.data)
            case h11.EndOfMessage():
                return Mark.END
            case h11.ConnectionClosed():
                return Mark.CLOSED
            case _:  # NEED_DATA; PAUSED never, as `next` is called after `recycle` only
                return Mark.NEED_DATA

    @property
    def body_pending(self) -> bool:
        """Whether parts of the current request's body are still to come."""
        return self._http.their_state is h11.SEND_BODY

    def take_empty_body(self) -> bool:
        """Whether the request has no body; if so its end has been taken."""
        return self._no_body and self.next() is Mark.END

    @property
    def answering(self) -> bool:
        """Whether the head of the answer is out."""
        return self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}

    def skip_body(self) -> None:
        """Drop what has come of a body that nobody wants."""
        try:
            while self.body_pending and isinstance(self.next(), bytes):
                pass
        except TricornError:
            pass  # it stays pending, and the connection ends with this answer

    def go_on(self) -> bytes:
        """Return the interim answer that a client with `Expect: 100-continue` waits for, else nothing."""
        if not self._http.they_are_waiting_for_100_continue:
            return b""
        return self._send(h11.InformationalResponse(status_code=100, headers=[]))

    def switch(self, protocol: str) -> bytes:
        """Return the answer after which the connection belongs to `protocol`."""
        headers = [("Connection", "Upgrade"), ("Upgrade", protocol)]
        return self._send(h11.InformationalResponse(status_code=101, headers=headers))

    @property
    def trailing(self) -> bytes:
        """The bytes that came after the request: the first of the new protocol."""
        return bytes(self._http.trailing_data[0])

    def whole(self, status: int, headers: Headers, body: bytes, *, close: bool) -> bytes:
        """Return a whole answer with its length."""
        fields = [*headers, ("Content-Length", str(len(body)))] if status != 204 else headers
        data = self.start(status, fields, close=close)
        if body:
            data += self.part(body)
        return data + self.finish()

    def start(self, status: int, headers: Headers, *, close: bool) -> bytes:
        """Return an answer's head; without Content-Length the body is chunked."""
        fields = [_SERVER, *headers, ("Connection", "close")] if close else [_SERVER, *headers]
        return self._send(h11.Response(status_code=status, headers=fields, reason=_REASONS.get(status, b"")))

    def part(self, data: bytes) -> bytes:
        """Return a part of the answer's body (nothing in an answer to HEAD)."""
        return b"" if self.head_only else self._send(h11.Data(data=data))

    def finish(self) -> bytes:
        return self._send(h11.EndOfMessage())

    def recycle(self) -> bool:
        """Make ready for the next request, and return whether there may be one."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def _send(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""


def _refusal(error: h11.RemoteProtocolError) -> TricornError:
    if error.error_status_hint == 431:
        return HeadersTooLarge(
            "the request's headers are too large", why=f"at most {limits.HTTP_HEADERS} bytes"
        )
    if error.error_status_hint == 501:
        return Unimplemented("the request's transfer encoding is unknown", hint="send it chunked, or whole")
    return malformed(str(error)[:200])


def _head(event: h11.Request) -> Head:
    headers: dict[str, str] = {}
    for name, value in event.headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return Head(event.method.decode("latin-1"), event.target.decode("latin-1"), headers)
