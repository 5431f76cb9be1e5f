"""An agent for tests of its clients, which answers what a test tells it to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import h11
import trio
import trio.testing

from tricorn.frames import FROM_CLIENT, Frame, FrameDecoder, FrameKind, encode, encode_document

DIGEST = "sha256:" + "ab" * 32
NOW = "2026-01-31T12:00:00.5+00:00"
Handler = Callable[["Link"], Awaitable[None]]


class Link:
    """The agent's end of one connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.SERVER)
        self.line = ""
        self.headers: dict[str, str] = {}
        self.body: Any = None

    async def read(self) -> bool:
        """Read one request; False when the client left."""
        data = b""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                self.http.receive_data(await self.stream.receive_some())
            elif isinstance(event, h11.Request):
                self.line = f"{event.method.decode()} {event.target.decode()}"
                self.headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                data += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.body = json.loads(data) if data else None
                return True
            else:
                return False

    async def send(self, *events: Any) -> None:
        await self.stream.send_all(b"".join(self.http.send(event) or b"" for event in events))

    async def begin(self, status: int = 200) -> None:
        await self.send(h11.Response(status_code=status, headers=[("Transfer-Encoding", "chunked")]))

    async def lines(self, *values: Any) -> None:
        await self.send(h11.Data(data=b"".join(json.dumps(value).encode() + b"\n" for value in values)))

    async def finish(self) -> None:
        await self.send(h11.EndOfMessage())

    async def answer(self, value: Any, status: int = 200) -> None:
        await self.begin(status)
        await self.send(h11.Data(data=json.dumps(value).encode()))
        await self.finish()

    async def gone(self) -> None:
        """Wait until the client has left."""
        with suppress(trio.BrokenResourceError):
            assert await self.stream.receive_some() == b""

    async def switch(self) -> None:
        headers = [("Connection", "Upgrade"), ("Upgrade", "tricorn-stdio/1")]
        await self.send(h11.InformationalResponse(status_code=101, headers=headers))
        self.decoder = FrameDecoder(FROM_CLIENT)
        self.frames = self.decoder.feed(bytes(self.http.trailing_data[0]))

    async def frame(self) -> Frame | None:
        while not self.frames:
            data = await self.stream.receive_some()
            if not data:
                return None
            self.frames = self.decoder.feed(data)
        return self.frames.pop(0)

    async def say(self, kind: FrameKind, payload: bytes | dict[str, Any] = b"") -> None:
        data = encode_document(kind, payload) if isinstance(payload, dict) else encode(kind, payload)
        await self.stream.send_all(data)


class Agent:
    def __init__(self, path: str) -> None:
        self.path = path
        self.lines: list[str] = []
        self.bodies: list[Any] = []
        self.connections = 0
        self.handlers: dict[str, Handler] = {}

    def answer(self, line: str, value: Any, status: int = 200) -> None:
        async def handler(link: Link) -> None:
            await link.answer(value, status)

        self.handlers[line] = handler

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        link = Link(stream)
        async with stream:
            try:
                while await link.read():
                    self.lines.append(link.line)
                    self.bodies.append(link.body)
                    await self.handlers[link.line](link)
                    if link.http.our_state is not h11.DONE:
                        return
                    link.http.start_next_cycle()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Agent]:
    agent = Agent(str(path / "agent.sock"))
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(agent.path)
    listening.listen(32)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, agent.serve, [trio.SocketListener(listening)])
            yield agent
            nursery.cancel_scope.cancel()


def view(id: str = "web", **fields: Any) -> dict[str, Any]:
    known = {
        "id": id,
        "namespace": "default",
        "image": "a",
        "image_digest": DIGEST,
        "runtime": "crun",
        "snapshotter": "overlay",
    }
    return {**known, **fields}
