"""The containers of a sandbox, when it ends: their processes end with it."""

from __future__ import annotations

import signal
from contextlib import suppress

import structlog
import trio

from tricorn.errors import FailedPrecondition, NotFound
from tricorn.service.processes import ProcessService
from tricorn.store.db import Database

log = structlog.get_logger(__name__)


class SandboxMembers:
    def __init__(self, db: Database, processes: ProcessService) -> None:
        self._db = db
        self._processes = processes

    async def end(self, namespace: str, sandbox: str, grace: float, *, delete: bool) -> None:
        """End the tasks of all containers of a sandbox, all at once: SIGTERM, and SIGKILL after `grace`
        seconds. With `delete` their tasks are gone, too; the containers' records stay their client's.
        """
        async with trio.open_nursery() as nursery:
            for container in await self._with_tasks(namespace, sandbox):
                nursery.start_soon(self._end, namespace, container, grace, delete)

    async def _with_tasks(self, namespace: str, sandbox: str) -> list[str]:
        return await self._db.read(
            lambda tx: [
                container.id
                for container in tx.containers.list(namespace)
                if container.sandbox == sandbox and tx.tasks.find(namespace, container.id)
            ]
        )

    async def _end(self, namespace: str, container: str, grace: float, delete: bool) -> None:
        with suppress(NotFound, FailedPrecondition):  # it has ended by itself
            await self._stop(namespace, container, grace)
        if delete:
            with suppress(NotFound):
                await self._processes.delete(namespace, container)

    async def _stop(self, namespace: str, container: str, grace: float) -> None:
        if grace > 0:
            await self._processes.kill(namespace, container, signal.SIGTERM)
            with trio.move_on_after(grace):
                await self._processes.wait(namespace, container)
                return
        await self._processes.kill(namespace, container, signal.SIGKILL)
        await self._processes.wait(namespace, container)
