"""Clearing behind the answers: bounded, finished at shutdown, no failure that spreads."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tricorn import limits
from tricorn.errors import Internal
from tricorn.service.tidying import Tidier


async def test_work_goes_on_after_the_call_and_ends_before_the_tidier() -> None:
    go, steps = trio.Event(), []

    async def work() -> None:
        await go.wait()
        steps.append("worked")

    async with Tidier.open() as tidier:
        await tidier.behind("a", work, lambda: steps.append("done"))
        assert steps == []
        assert tidier.running() == 1
        go.set()
    assert steps == ["worked", "done"]
    assert tidier.running() == 0


async def test_who_brings_too_much_waits() -> None:
    go = trio.Event()
    async with Tidier.open(width=1) as tidier:
        await tidier.behind("a", go.wait, lambda: None)
        released: list[str] = []
        with trio.move_on_after(0) as waited:
            await tidier.behind("b", go.wait, lambda: released.append("b"))
        assert waited.cancelled_caught
        assert released == ["b"]
        go.set()


async def test_a_failure_stays_its_own() -> None:
    done: list[str] = []

    async def fails() -> None:
        raise Internal("no")

    async def breaks() -> None:
        raise OSError("no")

    async with Tidier.open() as tidier:
        await tidier.behind("a", fails, lambda: done.append("a"))
        await tidier.behind("b", breaks, lambda: done.append("b"))
        await trio.testing.wait_all_tasks_blocked()
        await tidier.behind("c", trio.lowlevel.checkpoint, lambda: done.append("c"))
    assert sorted(done) == ["a", "b", "c"]


async def test_the_end_has_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    released: list[str] = []
    async with Tidier.open() as tidier:
        await tidier.behind("a", trio.sleep_forever, lambda: released.append("a"))
    assert released == ["a"]


@pytest.mark.parametrize("asked", [False, True])
async def test_clearing_lets_other_calls_go_first_unless_somebody_wants_its_end(
    asked: bool, autojump_clock: trio.testing.MockClock
) -> None:
    wanted, began = trio.Event(), []

    async def work() -> None:
        began.append(trio.current_time())

    async with Tidier.open() as tidier:
        start = trio.current_time()
        await tidier.behind("a", work, wanted=wanted)
        if asked:
            wanted.set()
    assert began == [start + (0 if asked else limits.TIDYING_PAUSE)]


@pytest.mark.parametrize(("calls", "pause"), [(0, 0.008), (3, 0.012), (100, 0.06)])
async def test_clearing_waits_while_calls_come_but_not_for_ever(
    calls: int, pause: float, autojump_clock: trio.testing.MockClock
) -> None:
    began = []

    async def work() -> None:
        began.append(trio.current_time())

    async with Tidier.open() as tidier:
        start = trio.current_time()
        await tidier.behind("a", work, wanted=trio.Event())
        for number in range(calls):
            await trio.sleep_until(start + 0.002 * number)
            tidier.noticed()
    assert began == [pytest.approx(start + pause)]
