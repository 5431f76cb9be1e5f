"""How a request's body goes out: from memory, or straight from a file where nothing has to be encrypted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from attrs import frozen

from tricorn.errors import Unavailable
from tricorn.registry.pacing import stalled
from tricorn.registry.streams import ByteStream, reason_of


@frozen
class BodySender:
    """Raises Unavailable when the peer takes nothing for a stall period (seconds) or is gone."""

    _stream: ByteStream
    _peer: str
    _stall: float

    async def __call__(self, data: memoryview) -> None:
        """Send all of `data`."""
        async with self._watched():
            await self._stream.send_all(data)

    @property
    def takes_files(self) -> bool:
        """Whether `file` may be called."""
        return self._stream.sends_files

    async def file(self, descriptor: int, offset: int, count: int) -> int:
        """Send some bytes of a file, at most `count`; return how many, 0 at its end."""
        async with self._watched():
            return await self._stream.send_file(descriptor, offset, count)

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        with trio.move_on_after(self._stall) as scope:
            try:
                yield
            except (trio.ClosedResourceError, OSError) as error:
                raise Unavailable(f"{self._peer}: connection broke", why=reason_of(error)) from None
        if scope.cancelled_caught:
            raise stalled(f"{self._peer} took nothing for {self._stall:g} s")
