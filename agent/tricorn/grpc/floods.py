"""Tells work from noise: frames that cost time and ask for nothing are allowed in bursts only.

Bounds the attacks of the CVE-2019-9511 family, rapid reset (CVE-2023-44487) and its server-driven kin
(CVE-2025-8671) with one account per connection, into which real work pays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tricorn import limits

_SAVED: Final = 10.0 * limits.GRPC_IDLE_FRAMES  # what much work can earn: to cancel all of many calls at once


class Flood(Exception):
    """The other side sent too much that asks for nothing."""


class FloodGuard:
    """An account of frames: `limits.GRPC_IDLE_FRAMES` at first; time and work add to it."""

    __slots__ = ("_clock", "_credit", "_seen")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen = clock()
        self._credit = float(limits.GRPC_IDLE_FRAMES)

    def earn(self, amount: float) -> None:
        """Count work that was asked for or done."""
        self._credit = min(self._credit + amount, _SAVED)

    def spend(self, amount: float) -> None:
        """Count a frame by what it costs and asks for nothing; raise Flood when it is one too many."""
        self._credit -= amount
        if self._credit < 0:
            self._refill()
            if self._credit < 0:
                raise Flood("too many frames that ask for nothing")

    def _refill(self) -> None:
        now = self._clock()
        gained = (now - self._seen) * limits.GRPC_IDLE_FRAME_RATE
        self._seen = now
        self._credit = min(self._credit + gained, float(limits.GRPC_IDLE_FRAMES))
