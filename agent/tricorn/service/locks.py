"""Mutual exclusion by name: one holder a key, no entry left behind for keys nobody wants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from attrs import Factory, define


@define
class _Entry:
    lock: trio.Lock = Factory(trio.Lock)
    users: int = 0


class KeyedLock:
    """`async with locks.hold(key)`: holders of different keys never wait for each other."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    @asynccontextmanager
    async def hold(self, *parts: str) -> AsyncIterator[None]:
        """Hold the lock named by `parts`, waiting in the order of arrival."""
        key = "\0".join(parts)
        entry = self._entries.setdefault(key, _Entry())
        entry.users += 1
        try:
            async with entry.lock:
                yield
        finally:
            entry.users -= 1
            if not entry.users:
                del self._entries[key]

    def __len__(self) -> int:
        return len(self._entries)
