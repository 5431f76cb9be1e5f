"""One HTTP/1.1 connection: h11 for the heads, the body straight from the socket.

Reading a body with known length by `recv_into` into the caller's buffer is five times faster than
through h11; chunked bodies go through h11. Each exchange has a fresh h11 state on the same stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

import h11
import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import Unavailable
from tricorn.registry.body_sender import BodySender
from tricorn.registry.pacing import Pacing, StallClock, stalled
from tricorn.registry.streams import ByteStream, reason_of

_HEAD: Final = 16 * 1024
_CHUNK: Final = 64 * 1024
_INTERIM: Final = 8  # 1xx answers before the real one
_UPLOAD_ANSWER: Final = 4  # stall periods that a server may take to put an upload away
_LAST_WORDS: Final = 2.0  # seconds to wait for the answer of a server that took no more
Header = tuple[str, str]


@frozen
class Head:
    """Status line and headers of an answer; names in lower case."""

    status: int
    headers: tuple[Header, ...]

    def get(self, name: str) -> str:
        """Return the first header `name`, or an empty string."""
        return next((value for key, value in self.headers if key == name), "")

    def all(self, name: str) -> tuple[str, ...]:
        """Return all headers `name`, in order."""
        return tuple(value for key, value in self.headers if key == name)


class Upload(Protocol):
    """A request body of known length that is read while it is sent, from the start each time."""

    @property
    def length(self) -> int: ...

    async def write_to(self, send: BodySender) -> None:
        """Send all `length` bytes in order."""
        ...


class ClosedEarlyError(Exception):
    """A kept connection was closed before it answered; the request is safe to repeat on a new one."""


class Connection:
    """Exchanges requests with one server, one after the other. Errors of the network, of TLS and of the
    peer's HTTP are Unavailable; nothing of a request's headers goes into them.
    """

    def __init__(self, stream: ByteStream, peer: str, pacing: Pacing) -> None:
        self._stream = stream
        self._peer = peer
        self._pacing = pacing
        self._http = h11.Connection(h11.CLIENT)
        self._rest = b""  # body bytes that came with the head
        self._left: int | None = None  # body bytes to come; None: until h11 or the peer's close tells
        self._chunked = False
        self._clock = StallClock(pacing)
        self._clean = True  # the last exchange ended where the next can begin
        self._spent = False  # a request was cut off: nothing can follow it
        self.exchanges = 0
        self.received = 0

    async def request(self, method: str, target: str, headers: Sequence[Header], body: bytes) -> Head:
        """Send one request and return the head of its answer; the body is read next.

        Raises ClosedEarlyError on a connection used before that has gone meanwhile.
        """
        reused, self.exchanges = self.exchanges > 0, self.exchanges + 1
        self._clean = False
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.REGISTRY_HEADERS)
        self._clock = StallClock(self._pacing)
        with trio.move_on_after(self._pacing.stall):  # the whole head: a dripping one is a stall
            return await self._request(method, target, headers, body, reused=reused)
        raise self._lost("no answer", f"within {self._pacing.stall:g} s")

    async def upload(self, method: str, target: str, headers: Sequence[Header], body: Upload) -> Head:
        """Send one request with a long body and return the head of its answer.

        Raises Unavailable when the connection breaks or stalls: what the server has kept of the body is
        for the caller to find out. An answer that came before the body was sent whole is returned.
        """
        self.exchanges += 1
        self._clean = False
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.REGISTRY_HEADERS)
        self._clock = StallClock(self._pacing)
        fields = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
        start = self._http.send(h11.Request(method=method, target=target, headers=fields))
        try:
            send = BodySender(self._stream, self._peer, self._pacing.stall)
            await send(memoryview(start or b""))
            await body.write_to(send)
        except Unavailable as error:
            return await self._answer_after(method, error)
        with trio.move_on_after(_UPLOAD_ANSWER * self._pacing.stall):
            return await self._answer(method)
        raise self._lost("no answer to an upload", f"within {_UPLOAD_ANSWER * self._pacing.stall:g} s")

    async def _answer_after(self, method: str, error: Unavailable) -> Head:
        """Servers that refuse an upload say so, then hang up: look for that before telling of the rest."""
        self._spent = True
        with trio.move_on_after(min(_LAST_WORDS, self._pacing.stall)):
            with suppress(Unavailable):
                return await self._answer(method)
        raise error

    async def _answer(self, method: str) -> Head:
        try:
            head = self._start_body(method, await self._read_head(reused=False))
        except (trio.ClosedResourceError, OSError) as error:
            raise self._lost("connection broke", reason_of(error)) from None
        except h11.RemoteProtocolError as error:
            raise self._lost("answer is not HTTP", str(error)[:160]) from None
        return head

    async def _request(
        self, method: str, target: str, headers: Sequence[Header], body: bytes, *, reused: bool
    ) -> Head:
        try:
            await self._stream.send_all(self._encode(method, target, headers, body))
            answer = await self._read_head(reused=reused)
        except (trio.ClosedResourceError, OSError) as error:
            if reused:
                raise ClosedEarlyError from None
            raise self._lost("connection broke", reason_of(error)) from None
        except h11.RemoteProtocolError as error:
            raise self._lost("answer is not HTTP", str(error)[:160]) from None
        return self._start_body(method, answer)

    def _encode(self, method: str, target: str, headers: Sequence[Header], body: bytes) -> bytes:
        fields = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
        request = h11.Request(method=method, target=target, headers=fields)
        parts = [self._http.send(request)]
        if body:
            parts.append(self._http.send(h11.Data(data=body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        return b"".join(part for part in parts if part)

    async def _read_head(self, *, reused: bool) -> h11.Response:
        interim, room = 0, memoryview(bytearray(_HEAD))
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Response):
                return event
            if isinstance(event, h11.InformationalResponse):
                interim += 1
                if interim > _INTERIM:
                    raise self._lost("too many interim answers", "")
            elif event is h11.NEED_DATA:
                count = await self._stream.receive_into(room)
                if not count and reused and not self._http.trailing_data[0]:
                    raise ClosedEarlyError
                self._http.receive_data(bytes(room[:count]))
            else:
                raise self._lost("connection closed before the answer", "")

    def _start_body(self, method: str, answer: h11.Response) -> Head:
        head = Head(
            answer.status_code,
            tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers),
        )
        self._chunked = bool(head.get("transfer-encoding"))
        length = head.get("content-length")
        self._rest, self._left = b"", int(length) if length else None
        if method == "HEAD" or answer.status_code in {204, 304}:
            self._chunked, self._left = False, 0
        if not self._chunked:
            self._rest = self._http.trailing_data[0]
        self._clean = self._left == 0 and not self._rest
        return head

    async def read_into(self, view: memoryview) -> int:
        """Fill some of `view` from the body and return how many bytes; 0 at its end.

        Unavailable when the connection breaks, stalls or closes before the announced end.
        """
        if self._chunked:
            return await self._read_chunked(view)
        if self._left == 0:
            return 0
        if self._left is not None:
            view = view[: self._left]
        count = self._take_rest(view) if self._rest else await self._receive_into(view)
        if self._left is not None:
            if not count:
                raise self._lost("connection closed early", f"{self._left} bytes are missing")
            self._left -= count
            self._clean = self._left == 0 and not self._rest
        return count

    def _take_rest(self, view: memoryview) -> int:
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    async def _receive_into(self, view: memoryview) -> int:
        started = trio.current_time()
        count = -1
        with trio.move_on_after(self._pacing.stall):
            count = await self._receive(view)
        if count < 0:
            raise stalled(f"{self._peer} sent nothing for {self._pacing.stall:g} s")
        self.received += count
        self._clock.account(trio.current_time() - started, count)
        return count

    async def _receive(self, view: memoryview) -> int:
        try:
            return await self._stream.receive_into(view)
        except (trio.ClosedResourceError, OSError) as error:
            raise self._lost("connection broke", reason_of(error)) from None

    async def _read_chunked(self, view: memoryview) -> int:
        """Feed h11 at most as much as `view` takes, so that it never hands out more than that."""
        while not self._rest:
            try:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    room = memoryview(bytearray(min(len(view), _CHUNK)))
                    count = await self._receive_into(room)
                    self._http.receive_data(bytes(room[:count]))
                    continue
            except h11.RemoteProtocolError as error:
                raise self._lost("body is not HTTP", str(error)[:160]) from None
            if not isinstance(event, h11.Data):
                self._clean = self._http.their_state is h11.DONE and not self._http.trailing_data[0]
                return 0
            self._rest = bytes(event.data)
        return self._take_rest(view)

    def reusable(self, head: Head) -> bool:
        """Whether the exchange is over, and the peer keeps the connection open."""
        closing = "close" in ",".join(head.all("connection")).lower()
        return self._clean and not self._spent and not closing and self._http.their_http_version == b"1.1"

    def quiet(self) -> bool:
        """Whether an idle connection is as it should be: open, and nothing to read."""
        return self._stream.quiet()

    def close(self) -> None:
        """Close at once, without saying goodbye: nothing of value is lost."""
        self._stream.close()

    def _lost(self, what: str, why: str) -> Unavailable:
        return Unavailable(f"{self._peer}: {what}", why=why)
