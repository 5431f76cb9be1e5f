"""HTTP requests to registries: kept connections, redirects, bounded bodies.

Follows redirects of GET and HEAD only, never from https to http, and leaves Authorization and the
configured headers behind when the origin changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Self

import structlog
import trio
from attrs import define, evolve, field, frozen

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from tricorn.registry.connection import ClosedEarlyError, Connection, Head, Header, Upload
from tricorn.registry.dial import Dialer
from tricorn.registry.pacing import Pacing
from tricorn.registry.url import Origin, Url
from tricorn.rules.hosts import TlsSettings

log = structlog.get_logger(__name__)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})  # servers want to know the length, even if it is 0
_SECRET: Final = frozenset({"location", "set-cookie"})  # may hold signatures
_MISLED: Final = "the registry, or a proxy before it, is set up wrongly: ask who runs it, or name a mirror"
_DRAIN: Final = 64 * 1024  # of a body nobody wants, to keep its connection


@frozen
class Request:
    """`private` headers (Authorization and those of hosts.toml) stay with the first origin."""

    method: str
    url: Url
    headers: tuple[Header, ...] = ()
    private: tuple[Header, ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    upload: Upload | None = None  # a body that is read while it is sent, instead of `body`
    tls: TlsSettings = field(factory=TlsSettings)
    dial_timeout: float | None = None
    trace: Callable[[str], None] | None = None


@frozen
class Response:
    """An answer whose body is read while the context that gave it is open. `url` is where it came from."""

    head: Head
    url: Url
    pacing: Pacing
    _connection: Connection

    @property
    def status(self) -> int:
        return self.head.status

    @property
    def length(self) -> int | None:
        """The announced length of the body in bytes, if it was announced."""
        text = self.head.get("content-length")
        return int(text) if text and not self.head.get("transfer-encoding") else None

    async def read_into(self, view: memoryview) -> int:
        """Fill some of `view` from the body; return the count, 0 at the end. Raises Unavailable."""
        return await self._connection.read_into(view)

    async def read(self, limit: int, *, cut: bool = False) -> bytes:
        """Return the body; beyond `limit` bytes raise ResourceExhausted, or stop there with `cut`."""
        body = bytearray()
        buffer = memoryview(bytearray(min(limit + 1, _DRAIN)))
        while count := await self.read_into(buffer):
            body += buffer[:count]
            if len(body) > limit:
                if cut:
                    break
                raise ResourceExhausted(f"answer of {self.url} is too large", why=f"over {limit} bytes")
        return bytes(body[:limit])


@define
class _Idle:
    connection: Connection
    since: float


_Key = tuple[Origin, TlsSettings]


class Wire:
    """Owns the connections to registries. An async context manager: leaving it closes them all.

    `environment` supplies proxies and roots of trust.
    """

    def __init__(self, *, environment: Mapping[str, str], user_agent: str, pacing: Pacing) -> None:
        self._dialer = Dialer(environment, pacing)
        self._user_agent = user_agent
        self.pacing = pacing
        self._idle: dict[_Key, list[_Idle]] = {}
        self._slots = trio.Semaphore(limits.REGISTRY_CONNECTIONS)
        self._busy: set[Connection] = set()
        self._closed = False
        self.counts: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        idle = [entry.connection for entries in self._idle.values() for entry in entries]
        self._idle.clear()
        for connection in [*idle, *self._busy]:
            connection.close()

    def statistics(self) -> dict[str, int]:
        """Return counts of requests, connections and bytes, and how many connections are open now."""
        return {
            "requests": self.counts["requests"],
            "connections_opened": self.counts["opened"],
            "connections_busy": len(self._busy),
            "connections_idle": sum(map(len, self._idle.values())),
            "bytes_received": self.counts["bytes"],
            "bytes_uploaded": self.counts["uploaded"],
            "redirects": self.counts["redirects"],
        }

    @asynccontextmanager
    async def follow(self, request: Request) -> AsyncIterator[Response]:
        """Send `request` and the requests its redirects lead to; yield the last answer, open.

        Raises Unavailable for the network, FailedPrecondition for redirects that aren't followed.
        """
        for _ in range(limits.REGISTRY_REDIRECTS + 1):
            async with self.send(request) as response:
                if response.status not in _REDIRECTS or request.method not in {"GET", "HEAD"}:
                    yield response
                    return
                await _drain(response)
                request = _redirected(request, response.head.get("location"))
                self.counts["redirects"] += 1
        raise FailedPrecondition(
            f"{request.url.origin} redirects too often",
            why=f"over {limits.REGISTRY_REDIRECTS} redirects",
            hint=_MISLED,
        )

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Response]:
        """Send one request and yield its answer, open. Raises Unavailable."""
        if self._closed:
            raise Unavailable("the registry client is closed")
        async with self._slots:
            connection, head = await self._exchange(request)
            before = connection.received
            try:
                yield Response(head, request.url, self.pacing, connection)
            finally:
                self.counts["bytes"] += connection.received - before
                self._give_back(request, connection, head)

    async def _exchange(self, request: Request) -> tuple[Connection, Head]:
        """Try kept connections first; those that the server closed meanwhile don't count."""
        while True:
            connection = self._take_idle(request)
            fresh = connection is None
            if connection is None:
                connection = await self._open(request)
            self._busy.add(connection)
            try:
                return connection, await self._ask(connection, request)
            except ClosedEarlyError:
                self._drop(connection)
                assert not fresh
            except BaseException:
                self._drop(connection)
                raise

    async def _ask(self, connection: Connection, request: Request) -> Head:
        self.counts["requests"] += 1
        headers = [
            ("Host", request.url.origin.authority),
            ("User-Agent", self._user_agent),
            ("Accept-Encoding", "identity"),
            *request.headers,
            *request.private,
        ]
        if request.upload is not None:
            headers.append(("Content-Length", str(request.upload.length)))
        elif request.body or request.method in _WITH_BODY:
            headers.append(("Content-Length", str(len(request.body))))
        via_proxy = self._dialer.proxy_headers(request.url.origin)
        target = request.url.target if via_proxy is None else request.url.absolute
        everything = headers + (via_proxy or [])
        if request.upload is not None:
            self.counts["uploaded"] += request.upload.length
            head = await connection.upload(request.method, target, everything, request.upload)
        else:
            head = await connection.request(request.method, target, everything, request.body)
        if request.trace is not None:
            request.trace(_exchange_in_lines(request, head))
        log.debug("registry answered", method=request.method, url=str(request.url), status=head.status)
        return head

    async def _open(self, request: Request) -> Connection:
        self.counts["opened"] += 1
        return await self._dialer.dial(request.url.origin, request.tls, request.dial_timeout)

    def _take_idle(self, request: Request) -> Connection | None:
        entries = self._idle.get((request.url.origin, request.tls), [])
        while entries:
            entry = entries.pop()
            if trio.current_time() - entry.since < limits.REGISTRY_IDLE_SECONDS and entry.connection.quiet():
                return entry.connection
            entry.connection.close()
        return None

    def _give_back(self, request: Request, connection: Connection, head: Head) -> None:
        entries = self._idle.setdefault((request.url.origin, request.tls), [])
        full = len(entries) >= limits.REGISTRY_IDLE_CONNECTIONS
        if self._closed or full or not connection.reusable(head):
            self._drop(connection)
        else:
            self._busy.discard(connection)
            entries.append(_Idle(connection, trio.current_time()))
            self._expire()

    def _expire(self) -> None:
        """Close what has been idle for too long, so that hosts asked once don't hold sockets for ever."""
        oldest = trio.current_time() - limits.REGISTRY_IDLE_SECONDS
        for key, entries in list(self._idle.items()):
            for entry in [entry for entry in entries if entry.since < oldest]:
                entries.remove(entry)
                entry.connection.close()
            if not entries:
                self._idle.pop(key, None)

    def _drop(self, connection: Connection) -> None:
        self._busy.discard(connection)
        connection.close()


async def _drain(response: Response) -> None:
    """Read a short rest of a body, so that its connection can be used again."""
    if (response.length or 0) <= _DRAIN:
        with trio.move_on_after(response.pacing.stall):
            await response.read(_DRAIN, cut=True)


def _exchange_in_lines(request: Request, head: Head) -> str:
    """Return a request and its answer as HTTP writes them, without queries and what else may be secret."""
    sent = [
        f"{request.method} {request.url} HTTP/1.1",
        *(f"{name}: {value}" for name, value in request.headers),
    ]
    sent += [f"{name}: <redacted>" for name, _ in request.private]
    shown = ((name, "<redacted>" if name in _SECRET else value) for name, value in head.headers)
    got = [f"HTTP/1.1 {head.status}", *(f"{name}: {value}" for name, value in shown)]
    return "\n".join([*sent, "", *got, "", ""])


def _redirected(request: Request, location: str) -> Request:
    """Return the request a redirect asks for. Other origins get no credentials and no client certificate."""
    if not location:
        raise FailedPrecondition(f"{request.url} redirects to nowhere", hint=_MISLED)
    try:
        url = request.url.join(location)
    except InvalidArgument as error:
        raise FailedPrecondition(f"{request.url} redirects badly", why=str(error), hint=_MISLED) from None
    if url.origin == request.url.origin:
        return evolve(request, url=url)
    if request.url.origin.scheme == "https" and url.origin.scheme != "https":
        raise FailedPrecondition(
            f"{request.url.origin} redirects to plain HTTP",
            why=f"{url.origin} is not asked without TLS",
            hint="the registry's storage back end must be reachable over https",
        )
    return evolve(request, url=url, private=(), tls=evolve(request.tls, client=()), dial_timeout=None)
