"""One client's HTTP/1.1 connection: requests in, answers out, and an eye on the client meanwhile."""

from __future__ import annotations

from typing import Final, Protocol

import structlog
import trio

from tricorn import limits
from tricorn.api.http import problems
from tricorn.api.http.inbox import Inbox
from tricorn.api.http.replies import Data, Lines, Reply, Streamed, Upgraded, Whole, problem
from tricorn.api.http.sending import Sender, send_data, send_lines, send_streamed
from tricorn.api.http.upgrade import FrameChannel
from tricorn.api.http.wire import Head, Mark, Wire
from tricorn.errors import Internal, TricornError
from tricorn.rules.authorise import Peer

log = structlog.get_logger(__name__)
_LINGER: Final = 2.0  # seconds in which a client that still sends may read why it was refused
_LAST_WORDS: Final = 1.0


class Site(Protocol):
    """What a connection asks for answers."""

    async def answer(self, head: Head, body: BodyReader, peer: Peer) -> Reply:
        """Answer one request; errors are answers too."""
        ...

    def endless(self, head: Head) -> bool:
        """Whether the request lasts as long as its client wants."""
        ...


class BodyReader(Protocol):
    async def read(self) -> bytes:
        """Return the whole body; raise ResourceExhausted or RequestTooSlow."""
        ...

    async def piece(self) -> bytes:
        """Return the next bytes of a body of any length, none at its end; raise RequestTooSlow."""
        ...


class Connection:
    """Serves until either side closes. `drain` and `abort` are the agent's stop."""

    def __init__(self, stream: trio.abc.Stream, peer: Peer, site: Site, first: bytes) -> None:
        self._stream = stream
        self._peer = peer
        self._site = site
        self._wire = Wire()
        self._sender = Sender(stream)
        self._inbox = Inbox(stream, first, self._client_gone)
        self._request: trio.CancelScope | None = None
        self._waiting: trio.CancelScope | None = None
        self._head: Head | None = None
        self._draining = False
        self.idle_since = trio.current_time()

    async def serve(self) -> None:
        """Converse to the end. Never raises because of what the client does."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._inbox.pump)
                await self._converse()
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("client left", pid=self._peer.pid)

    @property
    def idle(self) -> bool:
        return self._waiting is not None

    def drain(self) -> None:
        """Close when idle; else after the current answer. Endless answers are cut off."""
        self._draining = True
        if self._waiting is not None:
            self._waiting.cancel()
        elif self._head is not None and self._site.endless(self._head):
            self.abort()

    def abort(self) -> None:
        """Cut the current request off; its client is told that the agent stops."""
        self._draining = True
        if self._request is not None:
            self._request.cancel()

    def _client_gone(self) -> None:
        if self._request is not None:
            self._request.cancel()

    # ------------------------------------------------------------ requests
    async def _converse(self) -> None:
        while not self._draining:
            try:
                self._head = await self._next_head()
            except TricornError as error:
                await self._refuse(error)
                return
            if self._head is None:
                return
            done = await self._exchange(self._head)
            self._head = None
            if not done or not self._wire.recycle():
                return

    async def _next_head(self) -> Head | None:
        """Return the next request's head, None when there comes none."""
        event = self._wire.next()
        if event is Mark.NEED_DATA:
            if self._inbox.empty and not self._inbox.ended and not await self._wait_for_request():
                return None
            self._wire.feed(await self._inbox.take())
            event = self._wire.next()
        else:
            await trio.lowlevel.checkpoint()  # pipelined: others have their turn between two requests
        if event is Mark.NEED_DATA:
            event = await self._rest_of_head()
        return event if isinstance(event, Head) else None

    async def _wait_for_request(self) -> bool:
        """Wait idly for the first byte of a request; False when it is time to close."""
        self.idle_since = trio.current_time()
        with trio.move_on_after(limits.HTTP_KEEPALIVE) as self._waiting:
            await self._inbox.wait()
        timely = not self._waiting.cancelled_caught
        self._waiting = None
        return timely

    async def _rest_of_head(self) -> Head | bytes | Mark:
        with trio.move_on_after(limits.HTTP_HEAD_TIMEOUT):
            while True:
                self._wire.feed(await self._inbox.take())
                event = self._wire.next()
                if event is not Mark.NEED_DATA:
                    return event
        raise problems.RequestTooSlow(
            "the request's headers came too slowly", why=f"over {limits.HTTP_HEAD_TIMEOUT:g} seconds"
        )

    async def _exchange(self, head: Head) -> bool:
        """Answer one request; return whether the connection is still good for another."""
        with trio.CancelScope() as self._request:
            if self._inbox.gone:
                return False
            reply = await self._site.answer(head, _Body(self), self._peer)
            done = await self._respond(reply)
        if self._request.cancelled_caught:
            if not self._inbox.gone:
                await self._last_words()
            return False
        return done

    async def read_body(self) -> bytes:
        """Return the current request's body."""
        if self._wire.take_empty_body():
            return b""
        with trio.move_on_after(limits.HTTP_BODY_TIMEOUT):
            return await self._collect_body()
        raise problems.RequestTooSlow(
            "the request's body came too slowly", why=f"over {limits.HTTP_BODY_TIMEOUT:g} seconds"
        )

    async def _collect_body(self) -> bytes:
        self._check_length()
        body = bytearray()
        while (event := self._wire.next()) is not Mark.END:
            if event is Mark.NEED_DATA:
                await self._sender.send(self._wire.go_on())
                self._wire.feed(await self._inbox.take())
            elif isinstance(event, bytes):
                body += event
                if len(body) > limits.HTTP_REQUEST_BODY:
                    raise problems.body_too_large(limits.HTTP_REQUEST_BODY)
            else:
                raise problems.malformed("the request ended too early")
        return bytes(body)

    async def read_piece(self) -> bytes:
        """Return the next bytes of the current request's body, none at its end."""
        with trio.move_on_after(limits.HTTP_BODY_TIMEOUT):
            return await self._next_piece()
        raise problems.RequestTooSlow(
            "the request's body came too slowly", why=f"nothing for {limits.HTTP_BODY_TIMEOUT:g} seconds"
        )

    async def _next_piece(self) -> bytes:
        if not self._wire.body_pending:
            self._wire.take_empty_body()
            return b""
        while (event := self._wire.next()) is Mark.NEED_DATA:
            await self._sender.send(self._wire.go_on())
            self._wire.feed(await self._inbox.take())
        if event is Mark.END:
            return b""
        if not isinstance(event, bytes):
            raise problems.malformed("the request ended too early")
        return event

    def _check_length(self) -> None:
        assert self._head is not None
        length = self._head.headers.get("content-length", "0")
        if length.isdecimal() and (len(length) > 18 or int(length) > limits.HTTP_REQUEST_BODY):
            raise problems.body_too_large(limits.HTTP_REQUEST_BODY)

    # ------------------------------------------------------------ answers
    async def _respond(self, reply: Reply) -> bool:
        self._wire.skip_body()
        match reply:
            case Whole():
                await self._send_whole(reply)
            case Lines():
                await send_lines(self._sender, self._wire, reply, close=self._closing)
            case Data():
                await self._send_data(reply)
            case Streamed():
                await self._send_streamed(reply)
            case Upgraded():
                await self._upgrade(reply)
                return False
        return await self._finish_body()

    @property
    def _closing(self) -> bool:
        return self._draining or self._wire.body_pending

    async def _send_whole(self, reply: Whole) -> None:
        headers = [("Content-Type", reply.content_type), *reply.headers] if reply.body else reply.headers
        data = self._wire.whole(reply.status, headers, reply.body, close=self._closing)
        await self._sender.send(data, stall=limits.HTTP_SEND_STALL)

    async def _send_data(self, reply: Data) -> None:
        try:
            await send_data(self._sender, self._wire, reply, close=self._closing)
        except TricornError as error:
            if self._wire.answering:
                raise trio.BrokenResourceError("an answer came to a stop half-way") from error
            await self._send_whole(problem(error))

    async def _send_streamed(self, reply: Streamed) -> None:
        try:
            await send_streamed(self._sender, self._wire, reply, close=self._closing)
        except TricornError as error:
            if self._wire.answering:
                raise trio.BrokenResourceError("an answer came to a stop half-way") from error
            await self._send_whole(problem(error))

    async def _finish_body(self) -> bool:
        """Let a client that still sends its body come to our answer before the connection closes."""
        if self._wire.body_pending:
            await self._linger()
            return False
        return not self._draining

    async def _upgrade(self, reply: Upgraded) -> None:
        channel = FrameChannel(self._wire, self._inbox, self._sender)
        outcome = "cancelled"
        try:
            await reply.run(channel)
            outcome = "ok"
        except TricornError as error:
            outcome = error.code
            await self._upgrade_failed(channel, error)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise
        except Exception as error:
            told = problems.mistake(error)
            outcome = told.code
            story = error if isinstance(told, Internal) else None
            log.error("session failed", why=told.why, exc_info=story)
            await self._upgrade_failed(channel, told)
        finally:
            reply.ended(outcome)

    async def _upgrade_failed(self, channel: FrameChannel, error: TricornError) -> None:
        if channel.accepted:
            await channel.fail(error)
        else:
            await self._send_whole(problem(error))

    async def _refuse(self, error: TricornError) -> None:
        """Answer a request that can't be read any further."""
        if not self._wire.answering:
            reply = problem(error)
            headers = [("Content-Type", reply.content_type)]
            await self._sender.send(
                self._wire.whole(reply.status, headers, reply.body, close=True), stall=_LAST_WORDS
            )
            await self._linger()

    async def _last_words(self) -> None:
        """Tell a client whose request was cut off by the agent's stop."""
        if self._sender.interrupted:
            return  # in the middle of something: what we add would be misread
        with trio.move_on_after(_LAST_WORDS):
            if not self._wire.answering:
                await self._refuse(problems.stopping())
            elif self._sender.farewell is not None:
                await self._sender.send(self._sender.farewell(problems.stopping()))

    async def _linger(self) -> None:
        """Read what the client still sends: closing before would take our answer from it."""
        if isinstance(self._stream, trio.SocketStream):
            await self._stream.send_eof()
        with trio.move_on_after(_LINGER):
            while await self._inbox.take():
                pass


class _Body:
    """Lets the site read the body of the current request, and nothing else of the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read(self) -> bytes:
        return await self._connection.read_body()

    async def piece(self) -> bytes:
        return await self._connection.read_piece()
