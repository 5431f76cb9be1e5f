"""Stopping all containers of the node in order, and letting those come back that are to run."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
import trio

from tricorn.errors import NotFound, TricornError
from tricorn.model.records import Container, Task
from tricorn.model.requests import NodeStop, StopOutcome, StopRequest
from tricorn.rules.order import Key, after, waves
from tricorn.service.lifecycle import ALIVE
from tricorn.service.restarts import Restarter
from tricorn.service.tasks import TaskService
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
_TOGETHER = 32  # containers of a wave that are being stopped at a time


class NodeOrder:
    """For shutdowns and maintenance. What is stopped here isn't stopped by hand: it is to come back."""

    def __init__(self, db: Database, tasks: TaskService, restarter: Restarter) -> None:
        self._db = db
        self._tasks = tasks
        self._restarter = restarter

    async def stop_all(self, timeout: float | None = None, *, plan: bool = False) -> NodeStop:
        """Stop the containers of all namespaces, those first that others don't need, each with its own signal
        and grace (at most `timeout` seconds), and start none again until `start_all` or the agent's next
        start. One that can't be stopped is told of, and doesn't keep the others running.
        """
        if not plan:
            await self._restarter.hold()
        order = list(reversed(waves(await self._needs())))
        outcomes: list[StopOutcome] = []
        for number, wave in enumerate(order, 1):
            if plan:
                outcomes += [StopOutcome(*key, wave=number) for key in wave]
            else:
                outcomes += await self._stop_wave(wave, number, timeout)
        return NodeStop(tuple(outcomes), held=self._restarter.held)

    async def start_all(self) -> NodeStop:
        """Let restart policies act again: what is to run comes back, in order."""
        self._restarter.release()
        return NodeStop((), held=False)

    async def _needs(self) -> dict[Key, tuple[Key, ...]]:
        def read(tx: Transaction) -> list[tuple[str, Task, Container | None]]:
            found = [(ns, task) for ns, task in tx.tasks.list_all() if task.status in ALIVE]
            return [(ns, task, tx.containers.find(ns, task.container)) for ns, task in found]

        found = await self._db.read(read)
        return {
            (ns, task.container): after(ns, container) if container else () for ns, task, container in found
        }

    async def _stop_wave(self, wave: Sequence[Key], number: int, timeout: float | None) -> list[StopOutcome]:
        outcomes: list[StopOutcome] = []
        slots = trio.Semaphore(_TOGETHER)

        async def stop(key: Key) -> None:
            async with slots:
                outcomes.append(StopOutcome(*key, wave=number, error=await self._stop(key, timeout)))

        async with trio.open_nursery() as nursery:
            for key in wave:
                nursery.start_soon(stop, key)
        return sorted(outcomes, key=lambda outcome: (outcome.namespace, outcome.id))

    async def _stop(self, key: Key, timeout: float | None) -> str:
        try:
            await self._tasks.stop(*key, StopRequest(timeout), by_hand=False)
        except NotFound:
            pass  # removed meanwhile
        except TricornError as error:
            log.error("container not stopped", namespace=key[0], container=key[1], error=error.one_line())
            return error.one_line()
        return ""
