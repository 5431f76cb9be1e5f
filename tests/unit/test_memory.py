"""Memory is given back once work is over, and not before."""

from __future__ import annotations

import trio
import trio.testing

from tricorn import memory
from tricorn.memory import MemoryKeeper

BLOCK = 64 << 10  # below what the allocator takes from the kernel by itself


class Work:
    """Something long, which leaves buffers behind."""

    def __init__(self) -> None:
        self.running = True
        self.kept = [bytearray(b"x" * BLOCK) for _ in range(256)]
        self.forgotten = trio.Event()

    def forget(self) -> None:
        self.kept.clear()
        self.forgotten.set()


class _Grown(MemoryKeeper):
    def grown(self) -> bool:
        return True


async def test_what_work_leaves_goes_when_it_is_over(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    before = memory.resident()
    keeper = MemoryKeeper(lambda: work.running, [lambda: work.forget()])  # noqa: PLW0108 - not there yet
    nursery.start_soon(keeper.run)
    await trio.testing.wait_all_tasks_blocked()
    work = Work()
    keeper.noticed()
    await trio.sleep(60)
    assert not work.forgotten.is_set()
    work.running = False
    await work.forgotten.wait()
    while not keeper.times_given_back:  # noqa: ASYNC110 - a thread of the keeper's own
        await trio.sleep(1)
    assert memory.resident() < before + 200 * BLOCK


async def test_nothing_is_done_where_nothing_grew(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    keeper = MemoryKeeper(lambda: False)
    nursery.start_soon(keeper.run)
    await trio.testing.wait_all_tasks_blocked()
    keeper.noticed()
    await trio.sleep(60)
    assert keeper.times_given_back == 0


async def test_calls_put_it_off(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    work = Work()
    work.running = False
    keeper = _Grown(lambda: work.running, [work.forget])
    nursery.start_soon(keeper.run)
    for _ in range(100):
        keeper.noticed()
        await trio.sleep(0.5)
    assert not work.forgotten.is_set()
    await work.forgotten.wait()


def test_the_allocator_is_told() -> None:
    memory.use_few_arenas()
    memory.give_back()
