"""The conversation of a connection, whichever side of it: bytes to events, and the end of it."""

from __future__ import annotations

import abc
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol

import structlog
import trio

from tricorn import limits
from tricorn.grpc.engine import Engine
from tricorn.grpc.events import ErrorCode, Event, ProtocolViolation
from tricorn.grpc.outbox import Outbox

if TYPE_CHECKING:
    from tricorn.grpc.stream import Stream

log = structlog.get_logger(__name__)
_PONG_DELAY: Final = 0.02  # seconds
_LAST_WORDS: Final = 1.0  # seconds for the other side to read why the connection ends


class HasStream(Protocol):
    """A call, whichever side of it."""

    @property
    def stream(self) -> Stream: ...


class Connection(abc.ABC):
    """Reads until the end, keeps the streams' shared state. A breach of the protocol ends it with GOAWAY."""

    def __init__(self, stream: trio.abc.Stream, *, client: bool, first: bytes = b"") -> None:
        self.engine = Engine(client=client)
        self.outbox = Outbox(stream)
        self.hungry = trio.lowlevel.ParkingLot()  # streams that wait for the connection's window
        self.unfinished = 0  # bytes of incomplete messages beyond the windows
        self.unsent = 0  # bytes of messages that wait for the other side
        self.violated = False
        self._pings = trio.Event()
        self._stream = stream
        self._first = first
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None

    @abc.abstractmethod
    def on_event(self, event: Event) -> None:
        """Act on what the other side said."""

    @abc.abstractmethod
    async def settle(self) -> None:
        """Do what was put off until all that came together was heard."""

    def flush(self) -> None:
        """Send what the engine has to say."""
        if out := self.engine.take_output():
            self.outbox.send(out)

    def open_windows(self, number: int, calls: Mapping[int, HasStream]) -> None:
        """Let the streams go on for which there is room again: one, 0 for the connection, below 0 for all."""
        if number > 0:
            if (call := calls.get(number)) is not None:
                call.stream.open_window()
            return
        self.hungry.unpark()
        if number < 0:
            for call in calls.values():
                call.stream.open_window()

    async def converse(self) -> None:
        """Read and act until the other side leaves or breaks the protocol."""
        try:
            self.flush()
            data = self._first or await self._receive()
            while data:
                self.engine.feed(data)
                await self._act()
                while self.outbox.flooded:
                    await self._wait_calm()
                data = await self._receive()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except ProtocolViolation as violation:
            log.info("connection ended", why=str(violation), code=violation.code)
            self.violated = True
        except Exception:
            log.exception("connection failed")
            self.engine.go_away(ErrorCode.INTERNAL_ERROR)

    async def answer_pings(self) -> None:
        """Answer pings, a moment late. A task of the connection.

        Go's clients send one with each answer they get, unless one is unanswered, to learn about the way;
        answered at once that is a write and a read more for each call. (RFC 9113, 6.7 would have them
        answered first; what counts on that counts in seconds.)
        """
        while True:
            await self._pings.wait()
            await trio.sleep(_PONG_DELAY)
            self._pings = trio.Event()
            self.engine.answer_pings()
            self.flush()

    async def say_goodbye(self) -> None:
        """Let the other side read the last words, if it does so soon."""
        self.flush()
        with trio.move_on_after(_LAST_WORDS, shield=True):
            await self.outbox.flush()

    async def _act(self) -> None:
        more = True
        while more:
            try:
                events, more = self.engine.events()
                for event in events:
                    self.on_event(event)
                await self.settle()
            finally:
                if self.engine.pinged:
                    self._pings.set()
                self.flush()
            if more:
                await trio.lowlevel.checkpoint()

    async def _receive(self) -> bytes:
        """Return received bytes, none at the end."""
        if self._socket is None:
            return bytes(await self._stream.receive_some(limits.GRPC_READ))
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return os.read(self._socket.fileno(), limits.GRPC_READ)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError("the other side is gone") from error

    async def _wait_calm(self) -> None:
        await self.outbox.wait_room()
        self.outbox.pass_on()
