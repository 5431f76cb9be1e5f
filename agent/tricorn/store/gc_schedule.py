"""When to collect: after changes, at a small share of the time, as containerd does; and, unlike it, when
something expires.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final

import trio
from attrs import define, frozen

from tricorn.ports import Clock
from tricorn.rules import reach
from tricorn.store import gc_graph
from tricorn.store.db import Database

MUTATIONS: Final = 100
_FIRST_INTERVAL: Final = 1.0
_LEAST_AVERAGE: Final = 0.005
_RETRY: Final = 30.0
_LONGEST_WAIT: Final = 3600.0  # the wall clock may be set meanwhile


@frozen
class Pace:
    """When to collect, as containerd's scheduler has it. `pause_threshold` is the share of the time that
    may go into collecting; more than `deletion_threshold` deletions are worth a collection, and so are
    `mutation_threshold` changes (0: no number is). Delays in seconds: from the moment that a collection is
    worth it, and after the start.
    """

    pause_threshold: float = 0.02
    deletion_threshold: int = 0
    mutation_threshold: int = MUTATIONS
    schedule_delay: float = 0.0
    startup_delay: float = 0.1


@define(eq=False)
class Schedule:
    """Times in seconds on Trio's clock, expiries on the wall clock."""

    db: Database
    clock: Clock
    pace: Pace = Pace()
    runs: int = 0
    _spent: float = 0.0
    _not_before: float = 0.0
    _triggered: bool = False
    _deletions: int = 0  # the database's counts as of the last collection …
    _mutations: int = 0
    _seen: int = -1  # … and its mutations when the next expiry was looked up
    _expiry: datetime | None = None
    _marked: datetime | None = None  # when the last collection began, on the wall clock

    def begin(self) -> tuple[int, int]:
        """Note the state that a collection starts from; `end` takes it back."""
        self._triggered = False
        self._marked = self.clock.now()
        return self.db.deletions, self.db.mutations

    def end(self, before: tuple[int, int], own_deletions: int, seconds: float) -> None:
        """Account a collection. Its own deletions are no reason for the next one."""
        self.runs += 1
        self._spent += seconds
        self._deletions = before[0] + own_deletions
        self._mutations = before[1] + (1 if own_deletions else 0)
        self._seen = -1
        self._not_before = trio.current_time() + self.interval

    def failed(self) -> None:
        self._not_before = trio.current_time() + _RETRY

    @property
    def interval(self) -> float:
        """How long to pause after a collection."""
        if not self.runs:
            return _FIRST_INTERVAL
        average = max(self._spent / self.runs, _LEAST_AVERAGE)
        return average / self.pace.pause_threshold - average

    def trigger(self) -> None:
        self._triggered = True
        self.db.changed.fire()  # wakes `wait_until_due`, too

    async def start_up(self) -> None:
        """Let the agent come up first, then have one collection of what the last run left."""
        await trio.sleep(self.pace.startup_delay)
        self._triggered = True

    async def wait_until_due(self) -> None:
        """Return when a collection is due."""
        while not self._triggered:
            paused = self._not_before - trio.current_time()
            if paused > 0:
                await self._wait(paused)
            elif self._changed_enough():
                await trio.sleep(self.pace.schedule_delay)
                return
            elif self._seen != self.db.mutations:
                self._seen = self.db.mutations
                self._expiry = await self._uncollected_expiry()
                self._not_before = trio.current_time() + self.interval
            elif self._until_expiry() <= 0:
                return
            else:
                await self._wait(min(self._until_expiry(), _LONGEST_WAIT))

    async def _wait(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.db.changed.wait()

    def _changed_enough(self) -> bool:
        deletions, mutations = self.db.deletions - self._deletions, self.db.mutations - self._mutations
        return deletions > self.pace.deletion_threshold or mutations >= (
            self.pace.mutation_threshold or math.inf
        )

    def _until_expiry(self) -> float:
        if self._expiry is None:
            return math.inf
        # What expires *at* a moment is free only after it.
        return (self._expiry - self.clock.now()).total_seconds() + 0.001

    async def _uncollected_expiry(self) -> datetime | None:
        """Return the first expiry that the last collection was too early for: it may be past by now."""
        now = self.clock.now()
        return await self.next_expiry(min(self._marked or now, now))

    async def next_expiry(self, since: datetime | None = None) -> datetime | None:
        return await self.db.read(lambda tx: reach.next_expiry(gc_graph.load_timed(tx), since or tx.now))

    def due_at(self) -> datetime | None:
        """Return when the next collection is as far as is known now; None while nothing calls for one."""
        if self._triggered or self._changed_enough():
            wait = max(0.0, self._not_before - trio.current_time()) + self.pace.schedule_delay
            return self.clock.now() + timedelta(seconds=0.0 if self._triggered else wait)
        return self._expiry

    def statistics(self) -> dict[str, float]:
        return {"runs": self.runs, "seconds": round(self._spent, 6), "interval": round(self.interval, 6)}
