"""Work that follows an answer: what deleted containers leave on the node is cleared away behind the scenes.

The record that the container is gone is on disk by then, and so is the intent to clear up after it: what a
crash cuts short, the next start finishes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
import trio

from tricorn import limits
from tricorn.errors import TricornError

log = structlog.get_logger(__name__)


class Tidier:
    """Owns the clearing tasks, so many at a time; whoever brings one more waits."""

    def __init__(self, nursery: trio.Nursery, width: int) -> None:
        self._nursery = nursery
        self._slots = trio.Semaphore(width, max_value=width)
        self._last_call = float("-inf")

    @classmethod
    @asynccontextmanager
    async def open(cls, width: int = limits.TIDYING) -> AsyncIterator[Tidier]:
        """Own the tasks; at the exit they have a last deadline to come to their end."""
        async with trio.open_nursery() as nursery:
            tidier = cls(nursery, width)
            try:
                yield tidier
            finally:
                nursery.cancel_scope.deadline = trio.current_time() + limits.CLEANUP_DEADLINE
                nursery.cancel_scope.shield = True

    def noticed(self) -> None:
        """A client was just answered: the next of its calls is likely to come at once."""
        self._last_call = trio.current_time()

    def running(self) -> int:
        return (self._slots.max_value or 0) - self._slots.value

    async def behind(
        self,
        name: str,
        work: Callable[[], Awaitable[None]],
        done: Callable[[], None] = lambda: None,
        *,
        wanted: trio.Event | None = None,
    ) -> None:
        """Have `work` done after this returns, then call `done`, whatever came of it.

        With `wanted` it lets the calls go first that follow such an answer as a rule, until no more come, but
        for `limits.TIDYING_PATIENCE` at most, and not once that is set.
        """
        try:
            await self._slots.acquire()
        except BaseException:
            done()
            raise
        self._nursery.start_soon(self._tidy, name, work, done, wanted, name=f"tidy {name}")

    async def _quiet(self, wanted: trio.Event) -> None:
        """Return when no client has called for a moment, or when it is wanted."""
        pause = limits.TIDYING_PAUSE
        while pause > 0 and not wanted.is_set():
            with trio.move_on_after(pause):
                await wanted.wait()
            pause = self._last_call + limits.TIDYING_PAUSE - trio.current_time()

    async def _tidy(
        self,
        name: str,
        work: Callable[[], Awaitable[None]],
        done: Callable[[], None],
        wanted: trio.Event | None,
    ) -> None:
        try:
            if wanted is not None:
                with trio.move_on_after(limits.TIDYING_PATIENCE):
                    await self._quiet(wanted)
            await work()
        except TricornError as error:
            log.error("left to the next start of the agent", what=name, error=error.one_line())
        except Exception:
            log.exception("left to the next start of the agent", what=name)
        finally:
            self._slots.release()
            done()
