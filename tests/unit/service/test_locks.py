"""Locks by name: order, independence, occupants, and nothing left behind."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tricorn.errors import FailedPrecondition
from tricorn.service.locks import KeyedLock


async def test_holders_of_one_key_wait_and_of_others_do_not() -> None:
    locks = KeyedLock()
    seen: list[str] = []

    async def hold(key: str, label: str, until: trio.Event) -> None:
        async with locks.hold("ns", key):
            seen.append(label)
            await until.wait()

    go = trio.Event()
    async with trio.open_nursery() as nursery:
        for key, label in (("a", "first"), ("a", "second"), ("b", "other")):
            nursery.start_soon(hold, key, label, go)
            await trio.testing.wait_all_tasks_blocked()
        assert seen == ["first", "other"]
        go.set()
    assert seen == ["first", "other", "second"]
    assert len(locks) == 0


async def test_an_occupant_outlasts_its_callers_hold() -> None:
    locks = KeyedLock()
    entered = False

    async def come() -> None:
        nonlocal entered
        async with locks.hold("a"):
            entered = True

    async with trio.open_nursery() as nursery:
        async with locks.hold("a"):
            nursery.start_soon(come)  # waits before there is an occupant
            await trio.testing.wait_all_tasks_blocked()
            release = locks.occupy("a").end
        await trio.testing.wait_all_tasks_blocked()
        assert not entered
        release()
    assert entered
    assert len(locks) == 0


async def test_who_gives_up_waiting_for_an_occupant_leaves_the_lock() -> None:
    locks = KeyedLock()
    async with locks.hold("a"):
        release = locks.occupy("a").end
    with trio.move_on_after(0) as gave_up:
        async with locks.hold("a"):
            raise AssertionError("occupied")
    assert gave_up.cancelled_caught
    release()
    async with locks.hold("a"):
        assert len(locks) == 1
    assert len(locks) == 0


async def test_an_occupant_learns_that_somebody_waits() -> None:
    locks = KeyedLock()
    async with locks.hold("a"):
        occupation = locks.occupy("a")
    assert not occupation.wanted.is_set()

    async def come() -> None:
        async with locks.hold("a"):
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come)
        await occupation.wanted.wait()
        occupation.end()


async def test_a_barred_key_is_held_only_by_those_it_is_barred_for() -> None:
    locks = KeyedLock()
    locks.bar("ns", "a", why=FailedPrecondition("it moves", hint="wait"))
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match="it moves"):
            async with locks.hold("ns", "a"):
                raise AssertionError
    async with locks.hold("ns", "b"), locks.hold("ns", "a", barred=True):
        pass
    locks.unbar("ns", "a")
    locks.unbar("ns", "a")
    async with locks.hold("ns", "a"):
        locks.bar("ns", "a", why=FailedPrecondition("it moves"))
    assert len(locks) == 0
