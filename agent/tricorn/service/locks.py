"""Mutual exclusion by name: one holder a key, no entry left behind for keys nobody wants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
from attrs import Factory, define, frozen

from tricorn.errors import TricornError


@define
class _Entry:
    lock: trio.Lock = Factory(trio.Lock)
    users: int = 0
    occupied: trio.Event | None = None
    wanted: trio.Event = Factory(trio.Event)


@frozen
class Occupation:
    """`wanted` is set once somebody waits for its end; `end` is called once."""

    wanted: trio.Event
    end: Callable[[], None]


class KeyedLock:
    """`async with locks.hold(key)`: holders of different keys never wait for each other."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._barred: dict[str, TricornError] = {}

    @asynccontextmanager
    async def hold(self, *parts: str, barred: bool = False) -> AsyncIterator[None]:
        """Hold the lock named by `parts`, waiting in the order of arrival, and for an occupant. Raises what
        it is barred with, unless the caller is whom it is `barred` for.
        """
        key = "\0".join(parts)
        entry = self._enter(key)
        try:
            if not barred:
                self._check(key)
            async with entry.lock:
                entry.wanted.set()
                while entry.occupied is not None:
                    await entry.occupied.wait()
                if not barred:
                    self._check(key)
                yield
        finally:
            self._leave(key, entry)

    def bar(self, *parts: str, why: TricornError) -> None:
        """Let nobody hold the lock from now on but those whom it is barred for; the others are told `why`."""
        self._barred["\0".join(parts)] = why

    def unbar(self, *parts: str) -> None:
        """Let everybody hold it again; idempotent."""
        self._barred.pop("\0".join(parts), None)

    def _check(self, key: str) -> None:
        if (why := self._barred.get(key)) is not None:
            raise type(why)(why.what, why=why.why, hint=why.hint, **why.details)

    def occupy(self, *parts: str) -> Occupation:
        """Keep the next holders waiting, whoever holds the lock now, until the occupation ends.

        For work that goes on behind its caller: between the end of the caller's hold and the beginning of
        one of its own, somebody else could come.
        """
        key = "\0".join(parts)
        entry = self._enter(key)
        assert entry.occupied is None, "only the holder may have it occupied, and it does so once"
        occupied = entry.occupied = trio.Event()
        entry.wanted = trio.Event()

        def end() -> None:
            entry.occupied = None
            occupied.set()
            self._leave(key, entry)

        return Occupation(entry.wanted, end)

    def _enter(self, key: str) -> _Entry:
        entry = self._entries.setdefault(key, _Entry())
        entry.users += 1
        return entry

    def _leave(self, key: str, entry: _Entry) -> None:
        entry.users -= 1
        if not entry.users:
            del self._entries[key]

    def __len__(self) -> int:
        return len(self._entries)
