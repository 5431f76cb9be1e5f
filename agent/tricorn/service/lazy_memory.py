"""Memory that restored containers still get from their dumps: the dump stays until they have all of it.

A container whose memory can't be completed is ended at once: what it never got would be zeroes to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
import trio

from tricorn.errors import NotFound, TricornError
from tricorn.ports import BundleRef, CheckpointRuntime, Created
from tricorn.service.bundles import Bundles

log = structlog.get_logger(__name__)
_SIGKILL: Final = 9


class LazyMemory:
    def __init__(self, nursery: trio.Nursery, runtime: CheckpointRuntime, bundles: Bundles) -> None:
        self._nursery = nursery
        self._runtime = runtime
        self._bundles = bundles
        self._watched: set[tuple[str, str]] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, runtime: CheckpointRuntime, bundles: Bundles) -> AsyncIterator[LazyMemory]:
        """Own the tasks that wait; what they wait for goes on after them."""
        async with trio.open_nursery() as nursery:
            try:
                yield cls(nursery, runtime, bundles)
            finally:
                nursery.cancel_scope.cancel()

    async def take_up(self, ref: BundleRef, created: Created) -> bool:
        """Look after a container that was restored lazily, whether it still gets memory or has failed to
        meanwhile; False for all others, whose dump nobody needs any more.
        """
        state = self._runtime.lazy_state(ref)
        if state in ("", "done"):
            return False
        if (ref.namespace, ref.id) not in self._watched:
            self._watched.add((ref.namespace, ref.id))
            self._nursery.start_soon(self._watch, ref, created)
        return True

    async def _watch(self, ref: BundleRef, created: Created) -> None:
        try:
            ended = await self._runtime.lazy_end(ref)
            if ended == "failed":
                await self._end(ref, created)
            if ended:
                await self._bundles.drop_dump(ref.namespace, ref.id)
                log.info("lazy restore over", namespace=ref.namespace, container=ref.id, state=ended)
        except TricornError as error:
            log.error("a lazy restore can't be completed", container=ref.id, error=error.one_line())
        finally:
            self._watched.discard((ref.namespace, ref.id))

    async def _end(self, ref: BundleRef, created: Created) -> None:
        with suppress(NotFound):
            await self._runtime.kill(ref, created.init, _SIGKILL, all=True)
            log.error(
                "container ended: the rest of its memory is lost", namespace=ref.namespace, container=ref.id
            )
