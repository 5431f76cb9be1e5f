"""Gives memory back to the kernel once long work is over, which the allocator would keep for the next one.

An agent at rest is to take little, whatever it did an hour ago: a node has one of them, and containers to
run. Where the C library has no such calls, nothing is done.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable
from typing import Final

import trio

_M_ARENA_MAX: Final = -8
_ARENAS: Final = 2  # by default eight for each processor: more than threads with one lock need
_PAUSE: Final = 1.0  # seconds without work or calls, after which memory is given back
_GROWTH: Final = 2 << 20  # bytes that are worth it
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_LIMITER: Final = trio.CapacityLimiter(1)

_libc = ctypes.CDLL(None)
_trim = getattr(_libc, "malloc_trim", None)


def use_few_arenas() -> None:
    """Let threads share the allocator's pools of memory. To be called before there are threads."""
    tune = getattr(_libc, "mallopt", None)
    if tune is not None:
        tune(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Return to the kernel whatever is free in the allocator's pools; takes some milliseconds. Any thread."""
    if _trim is not None:
        _trim(ctypes.c_size_t(0))


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * _PAGE


class MemoryKeeper:
    """`busy` tells whether long work runs; each of `forget` drops what a part of the agent keeps."""

    def __init__(self, busy: Callable[[], bool], forget: Iterable[Callable[[], None]] = ()) -> None:
        self._busy = busy
        self._forget = tuple(forget)
        self._worked = trio.Event()
        self._last = float("-inf")
        self._settled = 0
        self.times_given_back = 0

    def noticed(self) -> None:
        """A call was just answered."""
        self._last = trio.current_time()
        self._worked.set()

    async def run(self) -> None:
        """Watch what is taken, until cancelled; nothing is done, and nothing wakes up, while nobody calls."""
        self._settled = resident()
        while True:
            await self._worked.wait()
            await self._quiet()
            self._worked = trio.Event()
            if self.grown():
                await self._give_back()

    def grown(self) -> bool:
        """Return whether there is something to give back."""
        return resident() > self._settled + _GROWTH

    async def _quiet(self) -> None:
        while (left := self._left()) > 0:  # noqa: ASYNC110 - what ends long work tells nobody
            await trio.sleep(left)

    def _left(self) -> float:
        return _PAUSE if self._busy() else self._last + _PAUSE - trio.current_time()

    async def _give_back(self) -> None:
        for forget in self._forget:
            forget()
        await trio.to_thread.run_sync(give_back, limiter=_LIMITER)
        self._settled = resident()
        self.times_given_back += 1
