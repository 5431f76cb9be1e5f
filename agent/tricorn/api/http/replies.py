"""The four shapes of an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol, TypeVar

from attrs import frozen

from tricorn import limits
from tricorn.api.http import problems
from tricorn.errors import TricornError
from tricorn.frames import Frame

T = TypeVar("T")
JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
BYTES: Final = "application/octet-stream"


@asynccontextmanager
async def drawing_from(source: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Hold a source of items, and close it at the end whether or not it is exhausted."""
    try:
        yield source
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


def _nothing(_: str) -> None:
    pass


@frozen
class Whole:
    """An answer that is complete before it is sent."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


@frozen
class Lines:
    """NDJSON of what `source` yields. An error of the source before its first item is a problem document,
    later it is the last line. `ended` is called once, with `ok`, the error's code or `cancelled`, even if
    the source was never asked.
    """

    source: AsyncIterator[object]
    ended: Callable[[str], None] = _nothing
    status: int = 200


async def _at_once(_: int) -> None:
    pass


@frozen
class Data:
    """`size` bytes of the file at `path`, from `offset` on. `sent` is called after each piece with its
    length, and may hold the next one back; a client that takes no piece within `stall` seconds is let go.
    """

    path: str
    size: int
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200
    offset: int = 0
    sent: Callable[[int], Awaitable[None]] = _at_once
    stall: float = limits.HTTP_SEND_STALL


Write = Callable[[bytes | memoryview], Awaitable[None]]


@frozen
class Streamed:
    """The bytes that `run` writes, of a length that nobody knows before. An error before the first of them
    is a problem document; a later one cuts the connection, so that nobody takes a part for the whole.
    """

    run: Callable[[Write], Awaitable[None]]
    content_type: str = BYTES
    ended: Callable[[str], None] = _nothing
    status: int = 200


class Channel(Protocol):
    """A connection that changes to the frame protocol."""

    async def accept(self) -> None:
        """Send the 101. Before it, errors become problem documents; after it, error frames."""
        ...

    async def receive(self) -> Frame | None:
        """Return the client's next frame, None when it sends no more."""
        ...

    async def send(self, data: bytes) -> None:
        """Send encoded frames."""
        ...


@frozen
class Upgraded:
    """`run` accepts the change of protocol when it is ready and returns when the session is over."""

    run: Callable[[Channel], Awaitable[None]]
    ended: Callable[[str], None] = _nothing
    status: int = 101


Reply = Whole | Lines | Data | Streamed | Upgraded


def problem(error: TricornError) -> Whole:
    """Return the answer that tells of `error`."""
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, problems.MethodNotAllowed):
        headers = (("Allow", error.allowed),)
    elif isinstance(error, problems.UpgradeRequired):
        headers = (("Upgrade", "tricorn-stdio/1"), ("Connection", "Upgrade"))
    return Whole(error.http, problems.document(error), problems.CONTENT_TYPE, headers)
