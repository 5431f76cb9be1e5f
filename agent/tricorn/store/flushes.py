"""Brings to the disk, behind answers, what was committed without waiting for the disk."""

from __future__ import annotations

from collections.abc import Callable

import outcome
import trio

from tricorn.errors import Internal
from tricorn.store.writer import Job


class Flushes:
    """One at a time, each for all changes that were noted before it began; `submit` queues it for the thread
    that writes, which hands it to `ended`.
    """

    def __init__(self, submit: Callable[[Job], None]) -> None:
        self._submit = submit
        self._changes = 0  # noted …
        self._on_disk = 0  # … and how many of them are safe
        self._covered = 0  # by the flush that is under way
        self._under_way: Job | None = None
        self._ended = trio.Event()

    def note(self) -> None:
        """A change was committed; flush it as soon as can be."""
        self._changes += 1
        if self._under_way is None:
            self._begin()

    async def wait(self) -> None:
        """Wait until every change noted so far is on disk. Internal when it can't be brought there."""
        wanted = self._changes
        while self._on_disk < wanted:
            job = self._under_way or self._begin()
            await self._ended.wait()
            if isinstance(job.result, outcome.Error) and self._on_disk < wanted:
                raise Internal("changes could not be brought to the disk", why=str(job.result.error))

    def ended(self, job: Job) -> None:
        """Wake who waits, and flush what was noted meanwhile."""
        self._under_way = None
        if job.succeeded:
            self._on_disk = self._covered
            if self._on_disk < self._changes:
                self._begin()
        self._ended.set()
        self._ended = trio.Event()

    def _begin(self) -> Job:
        self._covered = self._changes
        self._under_way = Job(None)
        self._submit(self._under_way)
        return self._under_way
