"""The bytes per second that all peers together may take."""

from __future__ import annotations

import trio

_BURST = 0.25  # seconds' worth of bytes that may go at once


class Pace:
    """Lets senders go on as fast as `rate` allows; 0 is no limit. They take turns in the order they come."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._free_at = 0.0

    async def spend(self, count: int) -> None:
        """Account for `count` bytes that were sent, and wait until more may be."""
        if not self._rate:
            return
        now = trio.current_time()
        self._free_at = max(self._free_at, now - _BURST) + count / self._rate
        await trio.sleep(max(0.0, self._free_at - now))
