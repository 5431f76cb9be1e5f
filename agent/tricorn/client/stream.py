"""Answers that arrive piece by piece: lines, bytes, and the progress of long work."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from tricorn.client.connection import Connection, Pool
from tricorn.client.values import value
from tricorn.errors import FailedPrecondition, TricornError, from_problem
from tricorn.exchange import Call, Lines, gone, outcome
from tricorn.model.requests import ObjectProgress, Progress

T = TypeVar("T")


class Stream(Generic[T]):
    """An async iterator of the values of an NDJSON answer. One task at a time."""

    def __init__(self, connection: Connection, parse: Callable[[Any], T]) -> None:
        self._connection = connection
        self._parse = parse
        self._lines = Lines()
        self._ready: deque[Any] = deque()
        self._over = False

    def __aiter__(self) -> Stream[T]:
        return self

    async def __anext__(self) -> T:
        return self._parse(await self._line())

    async def _line(self) -> Any:
        while not self._ready:
            if self._over:
                raise StopAsyncIteration
            chunk = await self._connection.chunk()
            self._over = not chunk
            self._ready.extend(self._lines.feed(chunk) if chunk else self._lines.finish())
        return self._ready.popleft()


class Work(Stream[Progress], Generic[T]):
    """Long work: iterate over its Progress (or don't), then take `result` or `await wait()`. `objects` has
    the latest of each object, by digest.

    Raises the error that the work ended with. Leaving the context earlier cancels the work.
    """

    def __init__(self, connection: Connection, make: Callable[[Any], T]) -> None:
        super().__init__(connection, lambda raw: value(raw, Progress))
        self._make = make
        self._result: tuple[T] | None = None
        self.objects: dict[str, ObjectProgress] = {}

    @property
    def result(self) -> T:
        """What the work came to; FailedPrecondition while it is under way."""
        if self._result is None:
            raise FailedPrecondition(
                "the work is still under way", hint="iterate to the end, or await wait()"
            )
        return self._result[0]

    async def wait(self) -> T:
        """Let the work end, drop the progress, and return the result."""
        async for _ in self:
            pass
        return self.result

    async def __anext__(self) -> Progress:
        if self._result is not None:
            raise StopAsyncIteration
        try:
            kind, raw = outcome(await self._line())
        except StopAsyncIteration:
            raise gone() from None
        if kind == "progress":
            progress = self._parse(raw)
            self.objects.update((each.digest, each) for each in progress.objects)
            return progress
        self._result = (self._make(raw),)
        await self._read_out()
        raise StopAsyncIteration

    async def _read_out(self) -> None:
        """Read the end of the body, so that the connection can serve the next call."""
        while await self._connection.chunk():
            pass


def line_of(cls: type[T]) -> Callable[[Any], T]:
    """Return the parser of lines that hold a `cls`, or the error that ended the stream."""

    def parse(raw: Any) -> T:
        raise_if_problem(raw)
        return value(raw, cls)

    return parse


def raise_if_problem(raw: Any) -> None:
    """Raise the error of a line {"error": problem}."""
    if isinstance(raw, dict) and isinstance(problem := raw.get("error"), dict):
        error: TricornError = from_problem(problem)
        raise error


@asynccontextmanager
async def open_stream(pool: Pool, call: Call, parse: Callable[[Any], T]) -> AsyncIterator[Stream[T]]:
    """Give the lines of `call`'s answer."""
    async with pool.exchange(call) as (head, connection):
        await connection.check(head)
        yield Stream(connection, parse)


@asynccontextmanager
async def open_work(pool: Pool, call: Call, make: Callable[[Any], T]) -> AsyncIterator[Work[T]]:
    """Give the long work that `call`, which has `stream` set, begins."""
    async with pool.exchange(call) as (head, connection):
        await connection.check(head)
        yield Work(connection, make)


@asynccontextmanager
async def open_bytes(pool: Pool, call: Call) -> AsyncIterator[AsyncIterator[bytes]]:
    """Give the body of `call`'s answer, chunk by chunk."""
    async with pool.exchange(call) as (head, connection):
        await connection.check(head)
        yield _Chunks(connection)


class _Chunks:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __aiter__(self) -> _Chunks:
        return self

    async def __anext__(self) -> bytes:
        if chunk := await self._connection.chunk():
            return chunk
        raise StopAsyncIteration
