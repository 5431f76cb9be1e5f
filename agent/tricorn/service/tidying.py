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

        With `wanted` it lets the calls go first that follow such an answer as a rule, unless that is set.
        """
        try:
            await self._slots.acquire()
        except BaseException:
            done()
            raise
        self._nursery.start_soon(self._tidy, name, work, done, wanted, name=f"tidy {name}")

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
                    await wanted.wait()
            await work()
        except TricornError as error:
            log.error("left to the next start of the agent", what=name, error=error.one_line())
        except Exception:
            log.exception("left to the next start of the agent", what=name)
        finally:
            self._slots.release()
            done()
