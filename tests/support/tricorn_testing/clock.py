"""A clock to turn by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class HandClock:
    """`ports.Clock` that stands still until it is advanced."""

    def __init__(self, time: datetime = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)) -> None:
        self.time = time

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
