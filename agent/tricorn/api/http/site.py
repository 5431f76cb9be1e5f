"""The HTTP door: takes parsed heads and gives answers, through authorisation to one service call each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog
import trio
from attrs import define, evolve

from tricorn.api.http.audit import Audit
from tricorn.api.http.codec import decode_body, encode, refuse_body
from tricorn.api.http.connection import BodyReader, Connection
from tricorn.api.http.description import Description
from tricorn.api.http.problems import UpgradeRequired, mistake
from tricorn.api.http.query import parse_query
from tricorn.api.http.replies import Lines, Reply, Streamed, Upgraded, Whole, problem
from tricorn.api.http.routes import ROUTES
from tricorn.api.http.routing import About, Call, Match, Route, Router, Shape
from tricorn.api.http.wire import Head
from tricorn.api.metrics import Metrics
from tricorn.connections import Connections
from tricorn.errors import Internal, TricornError, Unavailable
from tricorn.frames import PROTOCOL
from tricorn.rules.authorise import Authoriser, Peer

if TYPE_CHECKING:
    from tricorn.service import Services

log = structlog.get_logger(__name__)
_UNMATCHED: Final = "unmatched"


class HttpApi:
    """Serves the HTTP/JSON API on connections that somebody else accepts. `authoriser` may be replaced
    while it runs; requests under way keep the decision they had.
    """

    def __init__(
        self,
        services: Services,
        *,
        authoriser: Authoriser,
        metrics: Metrics,
        ready: Callable[[], bool],
        version: str,
    ) -> None:
        self.authoriser = authoriser
        self._services = services
        self._metrics = metrics
        self._router = Router(ROUTES)
        self._about = About(ready, metrics.render, Description(version).document)
        self._connections: Connections[Connection] = Connections()
        metrics.watch("http", self.statistics)

    # ------------------------------------------------------------ connections
    async def serve_connection(self, stream: trio.abc.Stream, peer: Peer, first_bytes: bytes) -> None:
        """Serve one client until either side closes."""
        await self._connections.serve(Connection(stream, peer, self, first_bytes))

    def drain(self) -> None:
        """Close idle connections now, busy ones after their answer; cut off what has no end of its own."""
        self._connections.drain()

    def abort(self) -> None:
        """Cut all requests off; their clients are told that the agent stops."""
        self._connections.abort()

    def shed(self) -> bool:
        """Close the connection that has been idle longest, and return whether there was one."""
        return self._connections.shed()

    def statistics(self) -> dict[str, int]:
        """Return the connections that are open and those of them that are idle."""
        return self._connections.statistics()

    # ------------------------------------------------------------ requests
    def endless(self, head: Head) -> bool:
        """Whether the request lasts as long as its client wants."""
        try:
            return self._router.match(head.method, head.target.partition("?")[0]).route.endless
        except TricornError:
            return False

    async def answer(self, head: Head, body: BodyReader, peer: Peer) -> Reply:
        """Answer one request. Every failure is an answer; only cancellation leaves here."""
        began = time.perf_counter()
        handling = _Handling(head, peer)
        try:
            reply = await self._handle(handling, body)
        except TricornError as error:
            reply = problem(error)
            handling.outcome = error.code
        except Exception as error:
            told = mistake(error)
            story = error if isinstance(told, Internal) else None
            log.error(
                "request failed", method=head.method, path=head.target[:300], why=told.why, exc_info=story
            )
            reply = problem(told)
            handling.outcome = told.code
        except BaseException:
            handling.finish("cancelled")
            raise
        self._metrics.observe(handling.label, head.method, reply.status, time.perf_counter() - began)
        return handling.close_with(reply)

    async def _handle(self, handling: _Handling, body: BodyReader) -> Reply:
        head = handling.head
        path, _, query = head.target.partition("?")
        if head.method == "OPTIONS":
            return await self._options(path, body)
        match = self._router.match(head.method, path)
        handling.route = match.route
        if not match.route.early and not self._about.ready():
            raise Unavailable("the agent is not ready yet", hint="try again in a moment")
        call = await self._parse(handling, match, query, body)
        self._authorise(call, match.route)
        self._check_upgrade(call, match.route)
        return self._shape(match.route, await match.route.handler(call))

    async def _options(self, path: str, body: BodyReader) -> Reply:
        await body.read()
        allowed = ("GET", "OPTIONS") if path == "*" else self._router.allowed(path)
        return Whole(204, b"", headers=(("Allow", ", ".join(allowed)),))

    async def _parse(self, handling: _Handling, match: Match, query: str, body: BodyReader) -> Call:
        route, head = match.route, handling.head
        upgrade = route.upgradable and head.upgrades_to(PROTOCOL)
        parameters = match.parameters()
        namespace = parameters.get("ns") or parameters.get("namespace") or ""
        handling.audit = Audit(handling.peer, namespace, head.method, head.target)
        return Call(
            services=self._services,
            peer=handling.peer,
            namespace=namespace,
            path=parameters,
            query=parse_query(query, route.query),
            body=None if route.raw else _body(route, await body.read(), upgrade=upgrade),
            receive=body.piece if route.raw else None,
            lines=head.lists("accept", "application/x-ndjson"),
            respond_async=head.lists("prefer", "respond-async"),
            upgrade=upgrade,
            audit=handling.audit,
            about=self._about,
        )

    def _authorise(self, call: Call, route: Route) -> None:
        """Decide on the parsed request: nothing that the handler will see is unknown here."""
        route.scope.require(self.authoriser, call.peer, route.role, lambda: call.namespace)

    def _check_upgrade(self, call: Call, route: Route) -> None:
        if route.shape is Shape.UPGRADE and not call.upgrade:
            raise UpgradeRequired(
                "this call speaks the frame protocol",
                hint=f"send Connection: Upgrade and Upgrade: {PROTOCOL}",
            )

    def _shape(self, route: Route, answer: object) -> Reply:
        if isinstance(answer, Reply):
            return answer
        if route.shape is Shape.LIST:
            answer = {"items": answer, "cursor": None}
        return Whole(route.status, encode(answer))


def _body(route: Route, data: bytes, *, upgrade: bool) -> Any:
    if route.body is None or upgrade:
        refuse_body(data)
        return None
    return decode_body(data, route.body)


@define
class _Handling:
    """What becomes of one request, for the figures and the audit."""

    head: Head
    peer: Peer
    route: Route | None = None
    audit: Audit | None = None
    outcome: str = "ok"

    @property
    def label(self) -> str:
        return self.route.path if self.route else _UNMATCHED

    def finish(self, outcome: str) -> None:
        """Leave the audit line of a request that changes something, or was refused."""
        audit = self.audit or Audit(self.peer, "", self.head.method, self.head.target)
        if outcome == "PermissionDenied" or (self.route is not None and self.route.changes):
            audit.write(outcome)

    def close_with(self, reply: Reply) -> Reply:
        """Finish now, or when the reply is over if it takes its time."""
        if not isinstance(reply, Lines | Streamed | Upgraded):
            self.finish(self.outcome)
            return reply
        inner = reply.ended

        def ended(outcome: str) -> None:
            inner(outcome)
            self.finish(outcome)

        return evolve(reply, ended=ended)
