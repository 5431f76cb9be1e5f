"""A process's input and output over the frame protocol: exec and attach."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import trio

from tricorn.client.connection import Connection, Pool
from tricorn.client.values import value
from tricorn.errors import Unavailable, from_problem
from tricorn.exchange import Call, gone
from tricorn.frames import FROM_AGENT, Frame, FrameDecoder, FrameKind, encode_document, encode_stream
from tricorn.frames import encode as encode_frame
from tricorn.model.requests import ExitView


class Output(NamedTuple):
    """A piece of output; `stream` is stdout or stderr (a terminal's is all stdout)."""

    stream: str
    data: bytes


class Session:
    """Iterate over the Output until the process ends; then `exit` is known.

    One task may iterate while others send. Leaving the context detaches. A send that is cancelled midway
    breaks the session, as the other side can't tell a frame from its rest.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._decoder = FrameDecoder(FROM_AGENT)
        self._frames: deque[Frame] = deque(self._decoder.feed(connection.trailing))
        self._sending = trio.Lock()
        self._broken = False
        self.pid = 0
        self.exit: ExitView | None = None

    async def send_stdin(self, data: bytes) -> None:
        """Give the process input; waits while it doesn't read."""
        for frame in encode_stream(FrameKind.STDIN, data):
            await self._send(frame)

    async def close_stdin(self) -> None:
        """Let the process see the end of its input."""
        await self._send(encode_frame(FrameKind.STDIN_CLOSED))

    async def resize(self, rows: int, columns: int) -> None:
        """Tell the process's terminal its size."""
        await self.send_document(FrameKind.RESIZE, {"rows": rows, "columns": columns})

    async def signal(self, name: str) -> None:
        """Send a signal like SIGINT: in an exec to its process, in an attach to the container."""
        await self.send_document(FrameKind.SIGNAL, {"signal": name})

    async def send_document(self, kind: FrameKind, document: dict[str, Any]) -> None:
        await self._send(encode_document(kind, document))

    async def wait(self) -> ExitView:
        """Drop the output and return how the process ended."""
        async for _ in self:
            pass
        assert self.exit is not None
        return self.exit

    def __aiter__(self) -> Session:
        return self

    async def __anext__(self) -> Output:
        while self.exit is None:
            frame = await self._frame()
            match frame.kind:
                case FrameKind.STDOUT:
                    return Output("stdout", frame.payload)
                case FrameKind.STDERR:
                    return Output("stderr", frame.payload)
                case FrameKind.STARTED:
                    self.pid = int(frame.document().get("pid", 0))
                case FrameKind.ERROR:
                    raise from_problem(frame.document())
                case _:
                    self.exit = value(frame.document(), ExitView)
        raise StopAsyncIteration

    async def _frame(self) -> Frame:
        while not self._frames:
            data = await self._connection.receive()
            if not data:
                self._decoder.close()
                raise gone()
            self._frames.extend(self._decoder.feed(data))
        return self._frames.popleft()

    async def _send(self, frame: bytes) -> None:
        async with self._sending:
            if self._broken:
                raise Unavailable("the session is broken", why="an earlier send was cut short")
            self._broken = True
            await self._connection.send(frame)
            self._broken = False


@asynccontextmanager
async def open_session(
    pool: Pool, call: Call, request: dict[str, Any] | None = None
) -> AsyncIterator[Session]:
    """Upgrade `call` to the frame protocol; `request` is the first frame of an exec."""
    async with pool.exchange(call) as (head, connection):
        await connection.check(head)
        if not head.upgraded:
            raise Unavailable("the agent did not switch protocols")
        session = Session(connection)
        if request is not None:
            await session.send_document(FrameKind.EXEC, request)
        yield session
