"""An HTTP server on loopback that does what a test tells it, misbehaviour included."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h11
import trio
from attrs import Factory, define, field

Headers = Sequence[tuple[str, str]] | Mapping[str, str]


@define
class Exchange:
    """One request, and the means to answer it rightly or wrongly."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    _http: h11.Connection = field(repr=False)
    stream: trio.abc.Stream = field(repr=False)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    async def answer(self, status: int, headers: Headers = (), body: bytes = b"") -> None:
        """A proper answer; `Content-Length` is set unless given."""
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        names = {name.lower() for name, _ in pairs}
        if not names & {"content-length", "transfer-encoding"}:
            pairs.append(("Content-Length", str(len(body))))
        send = self._http.send
        parts = [send(h11.Response(status_code=status, headers=pairs))]
        if body and self.method != "HEAD":
            parts.append(send(h11.Data(data=body)))
        parts.append(send(h11.EndOfMessage()))
        await self.stream.send_all(b"".join(part for part in parts if part))

    async def json(self, status: int, document: Any, headers: Headers = ()) -> None:
        await self.answer(status, headers, json.dumps(document).encode())

    async def raw(self, data: bytes) -> None:
        """Any bytes at all; the connection is closed after the handler."""
        self._http.send_failed()
        await self.stream.send_all(data)


Handler = Callable[[Exchange], Awaitable[None]]


@define
class Server:
    """What runs: where, and which requests came."""

    port: int
    scheme: str = "http"
    seen: list[Exchange] = Factory(list)
    connections: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"

    def lines(self) -> list[str]:
        """The requests as `METHOD target`."""
        return [f"{each.method} {each.target}" for each in self.seen]


@contextlib.asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve `handler` on a free port of 127.0.0.1 while the context is open.

    An error of the context's body comes out as it is, not in a group.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server = Server(listeners[0].socket.getsockname()[1], "https" if tls else "http")

        async def serve(stream: trio.SocketStream) -> None:
            server.connections += 1
            await _serve(
                stream if tls is None else trio.SSLStream(stream, tls, server_side=True), server, handler
            )

        nursery.start_soon(trio.serve_listeners, serve, listeners)
        try:
            yield server
        except Exception as error:  # noqa: BLE001 - raised again below, outside the nursery
            failure = error
        finally:
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _serve(stream: trio.abc.Stream, server: Server, handler: Handler) -> None:
    http = h11.Connection(h11.SERVER)
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
        while (exchange := await _read(stream, http)) is not None:
            server.seen.append(exchange)
            await handler(exchange)
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                break
            http.start_next_cycle()
    await trio.aclose_forcefully(stream)


async def _read(stream: trio.abc.Stream, http: h11.Connection) -> Exchange | None:
    request: h11.Request | None = None
    body = b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await stream.receive_some(65536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            headers = {name.decode(): value.decode() for name, value in request.headers}
            return Exchange(request.method.decode(), request.target.decode(), headers, body, http, stream)
        else:
            return None
