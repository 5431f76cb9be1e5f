"""Reads a connection ahead of need, so that a client's end is noticed while its request is in work."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Final

import trio

from tricorn import limits

_RECEIVE: Final = 64 * limits.KIB
_HANGUP_POLL: Final = 1.0  # seconds; only while nothing is read, where no event tells of the end


class Inbox:
    """Holds at most about `limits.HTTP_READ_AHEAD` bytes. `pump` runs as a task of the connection.

    A client that only closed its sending half has `ended`; it is `gone` when it can't hear us either.
    """

    def __init__(self, stream: trio.abc.ReceiveStream, first: bytes, on_gone: Callable[[], None]) -> None:
        self._stream = stream
        self._data = bytearray(first)
        self._news = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._on_gone = on_gone
        self.ended = False
        self.gone = False

    async def pump(self) -> None:
        """Read until the client is gone."""
        while not self.gone and not self.ended:
            if len(self._data) >= limits.HTTP_READ_AHEAD:
                await self._wait_for_room()
            else:
                await self._receive()
        while not self.gone:
            await trio.sleep(_HANGUP_POLL)
            self._check_hangup()

    async def take(self) -> bytes:
        """Return all bytes there are, waiting for the first; empty at the end."""
        await self.wait()
        data = bytes(self._data)
        self._data.clear()
        self._room.unpark_all()
        return data

    async def wait(self) -> None:
        """Return when there are bytes, or when there will be none any more."""
        while not self._data and not self.ended:
            await self._news.park()

    @property
    def empty(self) -> bool:
        return not self._data

    async def _receive(self) -> None:
        try:
            data = await self._stream.receive_some(_RECEIVE)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._leave()
            return
        if data:
            self._data += data
        else:
            self.ended = True
            self._check_hangup()
        self._news.unpark_all()

    async def _wait_for_room(self) -> None:
        with trio.move_on_after(_HANGUP_POLL):
            await self._room.park()
            return
        self._check_hangup()

    def _check_hangup(self) -> None:
        if not self.gone and hung_up(self._stream):
            self._leave()

    def _leave(self) -> None:
        self.ended = self.gone = True
        self._news.unpark_all()
        self._on_gone()


def hung_up(stream: trio.abc.ReceiveStream) -> bool:
    """Whether the other side closed both directions. Streams that can't tell count an end as that."""
    bare = getattr(stream, "socket", None)
    if bare is None:
        return True
    fd = bare.fileno()
    if fd < 0:
        return True
    poller = select.poll()
    poller.register(fd, 0)  # POLLHUP and POLLERR are always reported
    return bool(poller.poll(0))
