"""Backoff, its bounds, and the clock that tells slow from stalled."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from tricorn.errors import Unavailable
from tricorn.registry.pacing import Backoff, Pacing, StallClock

PACING = Pacing(backoff_first=1.0, backoff_max=8.0, attempts=6, resumes=20, stall=10.0, slowest=100)


def backoff() -> Backoff:
    return Backoff(PACING, random.Random(1), PACING.attempts)


async def waits(paced: Backoff, error: Unavailable, count: int) -> list[float]:
    found = []
    for _ in range(count):
        before = trio.current_time()
        await paced.pause(error)
        found.append(trio.current_time() - before)
    return found


async def test_waits_grow_with_jitter_up_to_the_bound(autojump_clock: trio.testing.MockClock) -> None:
    found = await waits(backoff(), Unavailable("x"), 5)
    for wait, step in zip(found, (1, 2, 4, 8, 8), strict=True):
        assert step / 2 <= wait <= step


async def test_the_attempts_end(autojump_clock: trio.testing.MockClock) -> None:
    paced, error = backoff(), Unavailable("x")
    await waits(paced, error, 5)
    with pytest.raises(Unavailable) as caught:
        await paced.pause(error)
    assert caught.value is error


async def test_progress_starts_anew_but_not_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    paced = backoff()
    for _ in range(PACING.resumes - 1):
        paced.progress()
        await paced.pause(Unavailable("x"))
    paced.progress()
    with pytest.raises(Unavailable):
        await paced.pause(Unavailable("x"))


async def test_retry_after_is_honoured_and_bounded(autojump_clock: trio.testing.MockClock) -> None:
    assert await waits(backoff(), Unavailable("x", retry_after=5.0), 1) == [5.0]
    assert await waits(backoff(), Unavailable("x", retry_after=500.0), 1) == [8.0]


def test_a_drip_is_a_stall_and_a_slow_line_is_not() -> None:
    clock = StallClock(PACING)
    for _ in range(100):
        clock.account(1.0, 200)
    for _ in range(9):
        clock.account(1.0, 50)
    with pytest.raises(Unavailable, match="stalled"):
        clock.account(1.0, 50)


def test_only_waiting_counts() -> None:
    clock = StallClock(PACING)
    for _ in range(10_000):
        clock.account(0.0, 1)
