"""Connections of the Trio client: each serves one call at a time and is reused for the next."""

from __future__ import annotations

import select
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from tricorn import limits
from tricorn.errors import Unavailable
from tricorn.exchange import (
    RECEIVE,
    Body,
    Call,
    Exchange,
    Head,
    Mark,
    decode,
    failure,
    gone,
    unreachable,
)


class Connection:
    """One socket and the exchange on it. Raises TricornError only."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._exchange = Exchange()

    @property
    def reusable(self) -> bool:
        return self._exchange.reusable

    @property
    def trailing(self) -> bytes:
        """The bytes that came after a 101."""
        return self._exchange.trailing

    def close(self) -> None:
        """Close at once; the agent cancels what it was doing for this call."""
        self.stream.socket.close()

    def stale(self) -> bool:
        """Whether the agent closed the connection while it was idle (or sent what nobody asked for)."""
        poll = select.poll()
        poll.register(self.stream.socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    async def begin(self, call: Call) -> Head:
        """Send `call` and return the head of its answer."""
        await self.send(self._exchange.request(call))
        head = await self._step()
        assert isinstance(head, Head)
        return head

    async def upload(self, call: Call, parts: AsyncIterable[bytes]) -> Head:
        """Send `call` with a body of `parts` and return the head of its answer, which a refusal gives
        before all of it is sent. A generator is closed in any case.
        """
        try:
            await self.stream.send_all(self._exchange.request(call))
            async for part in parts:
                if self.stale():
                    break
                if part:
                    await self.stream.send_all(self._exchange.part(part))
            else:
                await self.stream.send_all(self._exchange.part(b""))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it hung up: what it said before is there to be read
        finally:
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()
        head = await self._step()
        assert isinstance(head, Head)
        return head

    async def chunk(self) -> bytes:
        """Return the next bytes of the answer's body, none at its end."""
        item = await self._step()
        return item if isinstance(item, bytes) else b""

    async def body(self) -> bytes:
        """Return the whole body, bounded by `limits.CLIENT_BODY`."""
        body = Body()
        while chunk := await self.chunk():
            body.add(chunk)
        return body.bytes()

    async def check(self, head: Head) -> None:
        """Raise the error that a failed answer stands for."""
        if head.failed:
            raise failure(head, await self.body())

    async def send(self, data: bytes) -> None:
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise gone() from error

    async def receive(self) -> bytes:
        """Return what the socket has, nothing at its end."""
        try:
            return bytes(await self.stream.receive_some(RECEIVE))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise gone() from error

    async def _step(self) -> Head | bytes | Mark:
        while (item := self._exchange.next()) is Mark.NEED_DATA:
            self._exchange.feed(await self.receive())
        return item


class Pool:
    """The connections to one socket: as many as there are calls at a time, a few kept idle for the next."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._idle: list[Connection] = []
        self._closed = False

    def close(self) -> None:
        """Close the idle connections; those in use are closed when their call ends."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    @asynccontextmanager
    async def exchange(self, call: Call) -> AsyncIterator[tuple[Head, Connection]]:
        """Send `call`; give the head and the connection. Leaving before the body's end abandons the call."""
        connection = self._reused() or await self._open()
        try:
            yield await connection.begin(call), connection
        finally:
            self._put_back(connection)

    async def call(self, call: Call) -> Any:
        """Send `call` and return its JSON answer (None for an empty one); raise what it failed with."""
        body = await self.read(call)
        return decode(body) if body else None

    async def upload(self, call: Call, parts: AsyncIterable[bytes]) -> Any:
        """Send `call` with a body of `parts` and return its JSON answer; raise what it failed with."""
        connection = self._reused() or await self._open()
        try:
            await connection.check(await connection.upload(call, parts))
            body = await connection.body()
        finally:
            self._put_back(connection)
        return decode(body) if body else None

    async def read(self, call: Call) -> bytes:
        """Send `call` and return the body of its answer; raise what it failed with."""
        async with self.exchange(call) as (head, connection):
            await connection.check(head)
            return await connection.body()

    def _reused(self) -> Connection | None:
        if self._closed:
            raise Unavailable("the client is closed")
        while self._idle:
            connection = self._idle.pop()
            if not connection.stale():
                return connection
            connection.close()
        return None

    async def _open(self) -> Connection:
        try:
            return Connection(await trio.open_unix_socket(self.path))
        except OSError as error:
            raise unreachable(self.path, error) from error

    def _put_back(self, connection: Connection) -> None:
        if connection.reusable and not self._closed and len(self._idle) < limits.CLIENT_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()
