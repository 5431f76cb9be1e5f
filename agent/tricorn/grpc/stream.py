"""One call's messages, both ways, under flow control. Client and server share it."""

from __future__ import annotations

from typing import Final, Protocol

import trio

from tricorn import limits
from tricorn.grpc.engine import Engine
from tricorn.grpc.events import DataReceived, StreamGone
from tricorn.grpc.framing import MessageReader, Outgoing, RawMessage
from tricorn.grpc.outbox import Outbox
from tricorn.grpc.status import Code, RpcError

_TURN: Final = 256 * limits.KIB  # bytes a stream may send before others have their turn


class Link(Protocol):
    """The connection, as its streams see it."""

    engine: Engine
    outbox: Outbox
    hungry: trio.lowlevel.ParkingLot
    unfinished: int
    unsent: int

    def flush(self) -> None:
        """Send what the engine has to say."""
        ...


class Stream:
    """The messages of one stream. Bytes nobody asked for are held within the stream's window, which is
    given back only as they are asked for; `limits.GRPC_UNFINISHED` bounds what incomplete messages of one
    connection hold beyond that.
    """

    __slots__ = (
        "_link",
        "_news",
        "_reader",
        "_unacknowledged",
        "_unfinished",
        "_waiting",
        "_window",
        "ended",
        "failure",
        "number",
        "torn",
    )

    def __init__(self, link: Link, number: int) -> None:
        self._link = link
        self._reader = MessageReader()
        self._unacknowledged = 0  # bytes held for which the window wasn't given back
        self._unfinished = 0  # bytes held for which it was
        self._waiting = False
        self._news: trio.lowlevel.ParkingLot | None = None
        self._window: trio.lowlevel.ParkingLot | None = None
        self.number = number
        self.ended = False  # the other side sends no more
        self.torn = False  # a message was sent in part
        self.failure: RpcError | None = None  # the stream broke off

    # ------------------------------------------------------------ the connection's side
    def feed(self, event: DataReceived) -> None:
        """Take received bytes."""
        size = len(event.data)
        self._reader.feed(event.data)
        self._unacknowledged += size
        padding = event.size - size
        if padding:
            self._link.engine.consumed(self.number, padding)
        if event.ended:
            self.ended = True
        if self._waiting:
            self._progress()

    def finish(self) -> None:
        """The other side sends no more."""
        self.ended = True
        self._wake()

    def fail(self, failure: RpcError) -> None:
        """Break off: whoever waits for the other side gets the error."""
        self.failure = self.failure or failure
        self._wake()
        self.open_window()

    def open_window(self) -> None:
        """Something may be sent again."""
        if self._window is not None:
            self._window.unpark_all()

    def close(self) -> None:
        """Forget what wasn't asked for, and give the connection's window back."""
        self._reader.clear()
        self._settle(0)
        acknowledged, self._unacknowledged = self._unacknowledged, 0
        self._link.engine.consumed(self.number, acknowledged)

    def _progress(self) -> None:
        """Somebody waits for the message that is coming in: make room for the rest of it."""
        if self.ended or self._reader.ready:
            self._wake()
        elif self._link.unfinished + self._unacknowledged > limits.GRPC_UNFINISHED:
            self.fail(
                RpcError.of(Code.RESOURCE_EXHAUSTED, "too many large messages at once on one connection")
            )
        else:
            self._unfinished += self._unacknowledged
            self._link.unfinished += self._unacknowledged
            self._acknowledge()

    def _acknowledge(self) -> None:
        acknowledged, self._unacknowledged = self._unacknowledged, 0
        self._link.engine.consumed(self.number, acknowledged)

    def _settle(self, held: int) -> None:
        """Count at most `held` bytes as part of unfinished messages."""
        released = max(0, self._unfinished - held)
        self._unfinished -= released
        self._link.unfinished -= released

    def _wake(self) -> None:
        if self._news is not None:
            self._news.unpark_all()

    # ------------------------------------------------------------ the call's side
    async def receive(self) -> bytes | None:
        """Return the next message, None when there comes none. Raises RpcError: the stream broke off, or
        the message can't be read; what comes later is not read then. One task at a time.
        """
        while not self._reader.ready:
            if self.failure is not None:
                raise self.failure
            if self.ended:
                self._check_end()
                return None
            await self._wait()
        message = self._reader.take()
        assert message is not None
        self._link.engine.worked()
        self._release()
        return message

    def _release(self) -> None:
        """Give the window back for what was taken, not for what waits behind it."""
        left = self._reader.size
        self._settle(min(self._unfinished, left))
        if self._unacknowledged > left:
            taken = self._unacknowledged - left
            self._unacknowledged = left
            self._link.engine.consumed(self.number, taken)
            self._link.flush()

    def _check_end(self) -> None:
        if self._reader.size:
            raise RpcError.of(Code.INTERNAL, "the stream ended inside a message")

    async def _wait(self) -> None:
        self._waiting = True
        self._news = self._news or trio.lowlevel.ParkingLot()
        try:
            self._progress()
            self._link.flush()
            if self.failure is None:
                await self._news.park()
        finally:
            self._waiting = False

    async def send(self, message: RawMessage, *, end: bool = False) -> None:
        """Send a message; return when the connection has taken it over. Raises RpcError: the stream broke
        off, or too much waits already for a client that doesn't read. One task at a time.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.torn:
            raise RpcError.of(Code.INTERNAL, "the message before was cut off")
        if self._link.unsent and self._link.unsent + message.size > limits.GRPC_UNSENT:
            raise RpcError.of(Code.RESOURCE_EXHAUSTED, "too many messages wait to be read on one connection")
        outgoing = Outgoing(message)
        self._link.unsent += outgoing.left
        try:
            await self._send(outgoing, end=end)
        except StreamGone:
            raise self.failure or RpcError.of(Code.CANCELLED, "the stream is closed") from None
        finally:
            self._link.unsent -= outgoing.left
            self._pass_on()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _send(self, outgoing: Outgoing, *, end: bool) -> None:
        while outgoing.left:
            size = await self._room(outgoing.left)
            self._link.engine.data(self.number, outgoing, size, end=end)
            self._link.unsent -= size
            self.torn = outgoing.left > 0
            self._link.flush()
            self._pass_on()

    async def _room(self, wanted: int) -> int:
        """Return how many bytes may be sent now, at least one."""
        link = self._link
        while True:
            if self.failure is not None:
                raise self.failure
            await link.outbox.wait_room()
            of_stream, of_connection = link.engine.room(self.number)
            if of_stream <= 0:
                self._pass_on()
                self._window = self._window or trio.lowlevel.ParkingLot()
                await self._window.park()
            elif of_connection <= 0:
                link.outbox.pass_on()
                await link.hungry.park()
            else:
                return min(wanted, of_stream, of_connection, _TURN)

    def _pass_on(self) -> None:
        """One waiter at a time is woken for what all of them wait for: hand on what is left of it."""
        link = self._link
        link.outbox.pass_on()
        if link.hungry and link.engine.window > 0:
            link.hungry.unpark()
