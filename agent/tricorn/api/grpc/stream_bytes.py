"""Bytes over a stream of messages: Data one way, WindowUpdate the other, as containerd's clients do it."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Final

import trio

from tricorn import limits, wire
from tricorn.errors import InvalidArgument, Unavailable
from tricorn.service.streams import Framing, MessageStream

DATA: Final = wire.message("containerd.types.transfer.Data")
WINDOW: Final = wire.message("containerd.types.transfer.WindowUpdate")
_PIECE: Final = 64 * 1024  # the clients' window, which they renew when less than this is left of it
_STALL: Final = 120.0  # seconds for which a client may take or send nothing
_LAST_WORD: Final = 10.0  # seconds to wait for a client to say that it has written all


class ReceivedBytes:
    """What a client sends. It is allowed up to STREAM_WINDOW bytes more than were taken."""

    def __init__(self, stream: MessageStream, stall: float = _STALL) -> None:
        self._stream = stream
        self._stall = stall
        self._allowed = 0

    async def receive(self) -> bytes:
        """Return some bytes, none at the end. InvalidArgument for other messages, Canceled when the client
        went away in the middle, Unavailable when it is silent for too long: an import holds a thread.
        """
        if self._allowed <= limits.STREAM_WINDOW // 2:
            await self._stream.send(WINDOW(update=limits.STREAM_WINDOW - self._allowed))
            self._allowed = limits.STREAM_WINDOW
        parts: list[bytes] = []
        message = await self._first()
        while message is not None:
            parts.append(self._data(message))
            if sum(map(len, parts)) >= limits.STREAM_WINDOW // 2:
                break
            message = self._stream.receive_nowait()
        data = b"".join(parts)
        self._allowed -= len(data)
        if parts and not data:
            return await self.receive()
        return data

    async def _first(self) -> Any | None:
        with trio.move_on_after(self._stall):
            return await self._stream.receive()
        raise Unavailable(f"stream {self._stream.name} stalled", why=f"nothing sent for {self._stall:g} s")

    def _data(self, message: Any) -> bytes:
        if not isinstance(message, DATA):
            raise InvalidArgument("the stream holds other things than data", field=self._stream.name)
        return bytes(message.data)


class SentBytes:
    """What a client receives, in pieces of its window. `finish` returns once the client has taken all.

    Clients renew the window when a piece leaves less of it than _PIECE: so a last piece of _PIECE bytes (or
    the only one) is answered with an update, by which the client says that it is through with it. Without
    that, the end of an archive would race with the end of the call that asked for it.
    """

    def __init__(self, stream: MessageStream, stall: float = _STALL) -> None:
        self._stream = stream
        self._stall = stall
        self._credit = 0
        self._rest = bytearray()

    async def write(self, data: bytes | memoryview) -> None:
        """Send `data`, all but the last pieces, which wait for what follows. Canceled, Unavailable."""
        self._rest += data
        while len(self._rest) > 2 * _PIECE:
            await self._send(_PIECE)

    async def pass_on(self, data: bytes) -> None:
        """Send `data` at once: somebody waits for it at a terminal. Unavailable when the client has said
        that it wants no more, else as `write`.
        """
        while (message := self._stream.receive_nowait()) is not None:
            self._allow(message)
        if self._stream.ended:
            raise Unavailable(f"stream {self._stream.name} ended", why="its client wants no more")
        self._rest += data
        await self._send(len(self._rest))

    async def finish(self) -> None:
        """Send the rest, wait for the client, and end the stream."""
        if len(self._rest) > _PIECE:
            await self._send(len(self._rest) - _PIECE)
        if self._rest:
            await self._send(len(self._rest))
            with trio.move_on_after(_LAST_WORD):
                await self._more()
        self._stream.close()

    async def _send(self, count: int) -> None:
        while count:
            while self._credit <= 0:
                await self._wait()
            piece = min(count, self._credit)
            await self._stream.send(DATA(data=bytes(self._rest[:piece])))
            del self._rest[:piece]
            self._credit -= piece
            count -= piece

    async def _wait(self) -> None:
        with trio.move_on_after(self._stall):
            await self._more()
            return
        raise Unavailable(f"stream {self._stream.name} stalled", why=f"nothing taken for {self._stall:g} s")

    async def _more(self) -> None:
        message = await self._stream.receive()
        if message is None:
            raise Unavailable(f"stream {self._stream.name} ended", why="its client wants no more")
        self._allow(message)

    def _allow(self, message: Any) -> None:
        if not isinstance(message, WINDOW) or message.update < 0:
            raise InvalidArgument("a window update was expected", field=self._stream.name)
        self._credit += message.update


# What a process is given as its stdio may be silent, or unread, for as long as it likes.
BYTES: Final = Framing(partial(SentBytes, stall=math.inf), partial(ReceivedBytes, stall=math.inf))
