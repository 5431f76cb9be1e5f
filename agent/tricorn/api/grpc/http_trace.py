"""What registries are asked and answer, sent to a client that wants to see it (`ctr --http-dump`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from tricorn.api.grpc.stream_bytes import SentBytes
from tricorn.errors import TricornError
from tricorn.service.nurseries import typed_nursery
from tricorn.service.streams import MessageStream

_WAITING: Final = 256  # exchanges that a slow client may be behind; later ones are dropped
_GOODBYE: Final = 5.0  # seconds for the last of them


@asynccontextmanager
async def tracing(stream: MessageStream) -> AsyncIterator[Callable[[str], None]]:
    """Give a function whose texts go to the stream while the context is open. Nothing fails for it."""
    send, receive = trio.open_memory_channel[str](_WAITING)

    def trace(text: str) -> None:
        try:
            send.send_nowait(text)
        except (trio.WouldBlock, trio.BrokenResourceError):
            return

    async with typed_nursery() as nursery:
        nursery.start_soon(_send, stream, receive)
        try:
            yield trace
        finally:
            send.close()
            nursery.cancel_scope.deadline = trio.current_time() + _GOODBYE


async def _send(stream: MessageStream, texts: trio.MemoryReceiveChannel[str]) -> None:
    sent = SentBytes(stream)
    try:
        with texts:
            async for text in texts:
                await sent.write(text.encode())
        await sent.finish()
    except TricornError:
        return
