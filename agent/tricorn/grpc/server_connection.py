"""One client's connection on the server: starts its calls, and cancels them when they are not wanted."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import structlog
import trio

from tricorn import limits
from tricorn.grpc import hpack_literals
from tricorn.grpc.connection import Connection
from tricorn.grpc.events import (
    DataReceived,
    ErrorCode,
    Event,
    GoneAway,
    HeadersReceived,
    StreamGone,
    StreamReset,
    WindowOpened,
)
from tricorn.grpc.metadata import Fields, MalformedHeaders, Request, parse_request, parse_timeout
from tricorn.grpc.method import Method
from tricorn.grpc.server_call import ServerCall, Service
from tricorn.grpc.status import Code, RpcError, Status, encode_message

log = structlog.get_logger(__name__)
_GRPC: Final = "application/grpc"
_UNMATCHED: Final = "unmatched"
_ALIKE: Final = 512  # bytes of headers that are worth remembering
_ALIKE_KEPT: Final = 32


class Server(Service, Protocol):
    """What a connection asks of its server."""

    methods: Any

    def started(self) -> float: ...
    def finished(self, path: str, code: Code, began: float) -> None: ...


class ServerConnection(Connection):
    """Serves until either side closes. `drain` and `abort` are the server's stop."""

    def __init__(self, stream: trio.abc.Stream, peer: Any, server: Server, first: bytes) -> None:
        super().__init__(stream, client=False, first=first)
        self._peer = peer
        self._server = server
        self._calls: dict[int, ServerCall] = {}
        self._fresh: deque[tuple[ServerCall, float]] = deque()  # quick calls that just came
        self._requests: dict[tuple[tuple[bytes, bytes], ...], Request] = {}
        self._running = 0  # calls whose handlers haven't ended, whether or not their streams have
        self._nursery: trio.Nursery | None = None
        self._scope = trio.CancelScope()
        self._draining = False
        self._last = 0
        self.idle_since = trio.current_time()

    @property
    def idle(self) -> bool:
        """Whether it does nothing, and isn't being closed for it."""
        return not self._running and not self._draining

    async def serve(self) -> None:
        """Converse to the end. Never raises because of what the client does."""
        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self.outbox.run)
                    self._nursery.start_soon(self.answer_pings)
                    await self.converse()
                    for call in list(self._calls.values()):
                        call.client_gone()
                    await self.settle()
                    await self.say_goodbye()
                    self._nursery.cancel_scope.cancel()
            if self._scope.cancelled_caught:
                await self._close_orderly()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("client left")
        finally:
            for call, began in self._fresh:  # cut off among them
                self._end(call, began)

    async def _close_orderly(self) -> None:
        """Send what is left, now that nobody reads and no task sends any more."""
        with trio.move_on_after(1.0, shield=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.outbox.run)
                await self.say_goodbye()
                nursery.cancel_scope.cancel()

    def drain(self) -> None:
        """Take no more calls; end when those that run have ended. Endless calls are cut off."""
        if not self._draining:
            self._draining = True
            self.engine.go_away()
            self.flush()
        for call in list(self._calls.values()):
            if call.method.endless:
                call.stop()
        self._close_if_done()

    def abort(self) -> None:
        """Cut the calls off; their clients are told that the server stops."""
        self.drain()
        for call in list(self._calls.values()):
            call.stop()

    def _close_if_done(self) -> None:
        if self._draining and not self._running:
            self._scope.cancel()

    # ------------------------------------------------------------ events
    def on_event(self, event: Event) -> None:
        match event:
            case HeadersReceived():
                self._on_headers(event)
            case DataReceived():
                self._on_data(event)
            case WindowOpened():
                self.open_windows(event.stream, self._calls)
            case StreamReset():
                if (call := self._calls.get(event.stream)) is not None:
                    call.client_gone()
            case GoneAway():
                pass  # it opens no more streams; those that are open go on

    def _on_data(self, event: DataReceived) -> None:
        call = self._calls.get(event.stream)
        if call is not None:
            call.stream.feed(event)
        else:
            self.engine.consumed(event.stream, event.size)

    def _on_headers(self, event: HeadersReceived) -> None:
        if event.stream <= self._last:  # trailers, which gRPC doesn't have in this direction
            if (call := self._calls.get(event.stream)) is not None:
                call.stream.finish()
            return
        self._last = event.stream
        if self._draining or self._running >= limits.GRPC_STREAMS:
            self.engine.reset(event.stream, ErrorCode.REFUSED_STREAM)
            return
        began = self._server.started()
        code = Code.UNKNOWN
        try:
            if self._open(event, self._parse(event.fields), began):
                return
        except MalformedHeaders as error:
            log.debug("request refused", why=str(error))
            self.engine.reset(event.stream, ErrorCode.PROTOCOL_ERROR)
        except RpcError as error:
            code = error.status.code
            self._refuse(event.stream, error.status)
        self._server.finished(_UNMATCHED, code, began)

    def _parse(self, fields: Fields) -> Request:
        """Parse the headers, unless the same ones came lately: calls of one client are alike."""
        key = tuple(fields)
        request = self._requests.get(key)
        if request is None:
            request = parse_request(fields)
            if sum(len(name) + len(value) for name, value in fields) < _ALIKE:
                if len(self._requests) >= _ALIKE_KEPT:
                    self._requests.clear()
                self._requests[key] = request
        return request

    def _open(self, event: HeadersReceived, request: Request, began: float) -> bool:
        """Start the call; False when it isn't gRPC and was answered so."""
        if not (request.content_type == _GRPC or request.content_type.startswith((_GRPC + "+", _GRPC + ";"))):
            self._answer_http(event.stream, b"415")
            return False
        if request.method != "POST":
            self._answer_http(event.stream, b"405")
            return False
        method = self._find(request.path)
        if request.encoding != "identity":
            raise RpcError.of(Code.UNIMPLEMENTED, f"the encoding {request.encoding[:40]!r} is not supported")
        timeout = parse_timeout(request.timeout) if request.timeout else None
        call = ServerCall(self, self._server, self._peer, method, event.stream)
        call.accept(request, timeout)
        call.stream.ended = event.ended
        self._calls[event.stream] = call
        self._running += 1
        if method.quick:
            self._fresh.append((call, began))
        else:
            self._start(self._run, call, began)
        return True

    def _start(
        self, serve: Callable[[ServerCall, float], Awaitable[None]], call: ServerCall, began: float
    ) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(serve, call, began, name=call.method.path)

    def _find(self, path: str) -> Method:
        method = self._server.methods.get(path)
        if method is None:
            raise RpcError.of(Code.UNIMPLEMENTED, f"unknown method {path[:200]}")
        assert isinstance(method, Method)
        return method

    def _refuse(self, stream: int, status: Status) -> None:
        fields = [(b"grpc-status", b"%d" % status.code), (b"grpc-message", encode_message(status.message))]
        self._answer(stream, hpack_literals.GRPC_HEAD + hpack_literals.block(fields))

    def _answer_http(self, stream: int, status: bytes) -> None:
        """Tell a client that speaks no gRPC, in HTTP."""
        self._answer(stream, hpack_literals.block([(b":status", status)]))

    def _answer(self, stream: int, block: bytes) -> None:
        with contextlib.suppress(StreamGone):  # reset in the same breath
            self.engine.headers(stream, block, end=True)
            self.engine.reset(stream, ErrorCode.NO_ERROR)

    # ------------------------------------------------------------ calls
    async def settle(self) -> None:
        """Answer the quick calls whose requests are here; a task and two rounds of the loop cost more."""
        while self._fresh:
            call, began = self._fresh[0]
            if call.stream.ended and await call.is_quick():
                await call.work()
                if call.answers_at_once:
                    await call.finish()
                    self._end(call, began)
                else:  # the client has to be heard for it to go on
                    self._start(self._finish, call, began)
            else:
                self._start(self._run, call, began)
            self._fresh.popleft()

    async def _run(self, call: ServerCall, began: float) -> None:
        try:
            await call.work()
            await call.finish()
        finally:
            self._end(call, began)

    async def _finish(self, call: ServerCall, began: float) -> None:
        try:
            await call.finish()
        finally:
            self._end(call, began)

    def _end(self, call: ServerCall, began: float) -> None:
        self._calls.pop(call.stream.number, None)
        self._running -= 1
        if not self._running:
            self.idle_since = trio.current_time()
        self._server.finished(call.method.path, call.code, began)
        self._close_if_done()
