"""Memory is given back once work is over, and not before."""

from __future__ import annotations

import subprocess
import sys

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
    work = Work()
    keeper = _Grown(lambda: work.running, [work.forget])
    nursery.start_soon(keeper.run)
    await trio.testing.wait_all_tasks_blocked()
    keeper.noticed()
    await trio.sleep(60)
    assert not work.forgotten.is_set()
    work.running = False
    with trio.fail_after(600):
        await work.forgotten.wait()
        while not keeper.times_given_back:  # noqa: ASYNC110 - a thread of the keeper's own
            await trio.sleep(0.01)


ALONE = f"""
from tricorn import memory
memory.use_few_arenas()
kept = [bytearray(b"x" * {BLOCK}) for _ in range(256)]
last = bytearray(b"x" * {BLOCK})  # above them, so that the allocator can't shrink its heap by itself
full = memory.resident()
kept.clear()
memory.give_back()
print(full - memory.resident())
"""


def test_free_memory_goes_back_to_the_kernel() -> None:
    """In a process of its own: what others left free in this one would be taken first."""
    done = subprocess.run([sys.executable, "-c", ALONE], check=True, capture_output=True, text=True)
    assert int(done.stdout) > 200 * BLOCK


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
    with trio.fail_after(600):
        await work.forgotten.wait()


def test_the_allocator_is_told() -> None:
    memory.use_few_arenas()
    memory.give_back()
