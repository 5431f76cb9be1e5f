"""What a connection has to send: at once and without waiting while the kernel takes it, else by a task.

Whoever sends never waits inside a frame, so that being cancelled can't tear one.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Final

import trio

from tricorn import limits
from tricorn.grpc.framing import Buffer

_PIECES: Final = 512  # buffers of one writev(2), below IOV_MAX
_JOINED: Final = 16 * limits.KIB  # up to here one buffer is cheaper than many


class Outbox:
    """Sends buffers in order. `run` is a task of the connection; it raises BrokenResourceError when the
    other side is gone. Buffers may be sent after `send` returned.
    """

    def __init__(self, stream: trio.abc.SendStream) -> None:
        self._stream = stream
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None
        self._queue: deque[Buffer] = deque()
        self._size = 0
        self._work = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._broken = False

    @property
    def full(self) -> bool:
        """Whether messages should wait."""
        return self._size >= limits.GRPC_OUTBOX

    @property
    def flooded(self) -> bool:
        """Whether so much is waiting that the other side shouldn't be heard before it reads."""
        return self._size >= limits.GRPC_OUTBOX_CONTROL

    @property
    def empty(self) -> bool:
        return not self._size

    def send(self, buffers: list[Buffer]) -> None:
        """Send without waiting, or queue. Bounded by its callers: see `full` and `flooded`."""
        if self._broken or not buffers:
            return
        if self._queue or self._socket is None:
            self._append(buffers)
            return
        size = sum(map(len, buffers))
        if len(buffers) > 1 and size <= _JOINED:
            buffers = [b"".join(buffers)]
        while buffers:
            batch, buffers = buffers[:_PIECES], buffers[_PIECES:]
            left = _unsent(batch, self._write(batch))
            if left:
                self._append(left + buffers)
                return

    async def run(self) -> None:
        """Send what could not be sent at once."""
        while True:
            while not self._queue:
                if self._broken:
                    raise trio.BrokenResourceError("the other side is gone")
                await self._work.park()
            await self._send_some()
            if not self.full:
                self._room.unpark()

    async def wait_room(self) -> None:
        """Return when a message may be sent."""
        while self.full:
            await self._room.park()

    def pass_on(self) -> None:
        """Let the next one that waits for room have what is left of it."""
        if not self.full:
            self._room.unpark()

    async def flush(self) -> None:
        """Return when all is sent."""
        while self._size and not self._broken:
            await self._room.park()
        self._room.unpark()

    def _append(self, buffers: list[Buffer]) -> None:
        self._queue.extend(buffers)
        self._size += sum(map(len, buffers))
        self._work.unpark()

    async def _send_some(self) -> None:
        if self._socket is None:
            data = b"".join(self._queue)
            self._queue.clear()
            await self._stream.send_all(data)
            self._size -= len(data)
            return
        await trio.lowlevel.wait_writable(self._socket)
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(_PIECES, len(self._queue)))]
            sent = self._write(batch)
            self._size -= sent
            self._queue.extendleft(reversed(left := _unsent(batch, sent)))
            if left:
                return

    def _write(self, buffers: list[Buffer]) -> int:
        """Return how many bytes the kernel took; all of them when there is nobody any more."""
        assert self._socket is not None
        try:
            return os.writev(self._socket.fileno(), buffers)
        except BlockingIOError:
            return 0
        except OSError:
            self._broken = True
            self._work.unpark()
            self._room.unpark_all()
            return sum(map(len, buffers))


def _unsent(buffers: list[Buffer], sent: int) -> list[Buffer]:
    for index, buffer in enumerate(buffers):
        if sent < len(buffer):
            rest = buffers[index:]
            if sent:
                rest[0] = memoryview(buffer)[sent:]
            return rest
        sent -= len(buffer)
    return []
