"""The HTTP door of the API's tests: a server before fake services, and a client that sees raw bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import h11
import trio

from tricorn.api.http.site import HttpApi
from tricorn.api.listen import Listener
from tricorn_testing.api_values import BLOB, DIGEST, EVENT, LOG, NAMED, NOW, ROOT, Clock, container
from tricorn_testing.api_world import World

__all__ = [
    "BLOB",
    "DIGEST",
    "EVENT",
    "LOG",
    "NAMED",
    "NOW",
    "ROOT",
    "Answer",
    "Client",
    "Clock",
    "Server",
    "World",
    "container",
]


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


class Client:
    """One connection; requests one after the other, or raw bytes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT)

    async def send(
        self, method: str, target: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a request without waiting for its answer."""
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Host": "tricorn", **(headers or {})}
        if data or method in {"PUT", "POST", "PATCH"}:
            fields["Content-Length"] = str(len(data))
        request = h11.Request(method=method, target=target, headers=list(fields.items()))
        wire = self._http.send(request) or b""
        wire += self._http.send(h11.Data(data=data)) or b"" if data else b""
        await self.stream.send_all(wire + (self._http.send(h11.EndOfMessage()) or b""))

    async def event(self) -> Any:
        """Return the next h11 event of the answer."""
        with trio.fail_after(60):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(bytes(await self.stream.receive_some(65536)))
        return event

    async def receive(self) -> Answer:
        head = await self.event()
        body = b""
        while isinstance(event := await self.event(), h11.Data):
            body += bytes(event.data)
        headers = {name.decode(): value.decode() for name, value in head.headers}
        return Answer(head.status_code, headers, body)

    async def request(
        self, method: str, target: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        await self.send(method, target, body, headers)
        return await self.receive()

    async def upgrade(self, method: str, target: str) -> int:
        """Ask for the frame protocol and return the status; then `stream` speaks frames."""
        await self.send(method, target, headers={"Connection": "Upgrade", "Upgrade": "tricorn-stdio/1"})
        head = await self.event()
        return int(head.status_code)

    @property
    def trailing(self) -> bytes:
        return bytes(self._http.trailing_data[0])

    async def rest(self) -> bytes:
        """Return all raw bytes until the server closes."""
        data = b""
        with trio.fail_after(60):
            try:
                while more := await self.stream.receive_some(65536):
                    data += bytes(more)
            except trio.BrokenResourceError:
                pass
        return data


class Server:
    """The running server of one test."""

    def __init__(self, path: str, api: HttpApi, listener: Listener, world: World) -> None:
        self.path = path
        self.api = api
        self.listener = listener
        self.world = world
        self._clients: list[trio.SocketStream] = []

    async def connect(self) -> Client:
        stream = await trio.open_unix_socket(self.path)
        self._clients.append(stream)
        return Client(stream)

    async def request(
        self, method: str, target: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        client = await self.connect()
        try:
            return await client.request(method, target, body, headers)
        finally:
            await client.stream.aclose()

    async def quiet(self) -> None:
        """Wait until no connection is left."""
        with trio.fail_after(60):
            while self.listener.statistics()["connections_open"]:  # noqa: ASYNC110 - it has no event for that
                await trio.sleep(0.005)

    async def close_clients(self) -> None:
        for stream in self._clients:
            await trio.aclose_forcefully(stream)
