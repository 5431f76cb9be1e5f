"""How long to wait, how often to try, and what counts as a stall."""

from __future__ import annotations

import random

import trio
from attrs import define, field, frozen

from tricorn import limits
from tricorn.errors import TricornError, Unavailable


@frozen
class Pacing:
    """The times of registry conversations in seconds, and the number of tries; tests shrink them."""

    connect: float = limits.REGISTRY_CONNECT_TIMEOUT
    stall: float = limits.REGISTRY_STALL
    slowest: float = limits.REGISTRY_SLOWEST  # bytes per second over one stall period
    backoff_first: float = limits.REGISTRY_BACKOFF_FIRST
    backoff_max: float = limits.REGISTRY_BACKOFF_MAX
    attempts: int = limits.REGISTRY_ATTEMPTS  # without progress in between
    resumes: int = limits.REGISTRY_RESUMES  # altogether


@define
class StallClock:
    """Tells a slow body from a dead one. Counts only time spent waiting for the network, so a slow
    disk never looks like a stalled registry.
    """

    pacing: Pacing
    _waited: float = 0.0
    _received: int = 0

    def account(self, seconds: float, received: int) -> None:
        """Note one read; raise Unavailable when the last period brought less than the slowest rate."""
        self._waited += seconds
        self._received += received
        if self._waited < self.pacing.stall:
            return
        if self._received < self.pacing.slowest * self._waited:
            raise stalled(f"{self._received} bytes in {self._waited:.1f} s")
        self._waited, self._received = 0.0, 0


def stalled(why: str) -> Unavailable:
    """Return the error of a connection that brings nothing, or next to nothing."""
    return Unavailable("connection stalled", why=why)


@define
class Backoff:
    """Paces the tries of one call: exponential waits with jitter. Progress starts the count anew, but
    the sum of all tries is bounded.
    """

    pacing: Pacing
    random: random.Random
    attempts: int = field()
    _failures: int = 0
    _total: int = 0

    def progress(self) -> None:
        """Note that the last try brought something."""
        self._failures = 0

    async def pause(self, error: TricornError) -> None:
        """Wait before the next try, or raise `error` when there shall be none."""
        self._failures += 1
        self._total += 1
        if self._failures >= self.attempts or self._total >= self.pacing.resumes:
            raise error
        await trio.sleep(self._delay(error))

    def _delay(self, error: TricornError) -> float:
        step = self.pacing.backoff_first * 2.0 ** min(self._failures - 1, 30)
        delay: float = min(step, self.pacing.backoff_max) * (0.5 + self.random.random() / 2)
        asked = error.details.get("retry_after")
        if isinstance(asked, (int, float)):
            delay = max(delay, float(asked))
        return min(delay, self.pacing.backoff_max)
