"""A container that holds still while its files are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition, NotFound
from tricorn.failpoints import failpoint
from tricorn.model.records import TaskStatus
from tricorn.service.tasks import TaskService
from tricorn.store.db import Database

PAUSED_FOR_COMMIT: Final = "commit-pause"  # the intent: recovery lets the container go on


@asynccontextmanager
async def held_still(db: Database, tasks: TaskService, namespace: str, container: str) -> AsyncIterator[None]:
    """Pause a running container for the length of the context. One that is paused already stays so, and
    one that has ended needs nothing. After a crash of the agent its next start lets the container go on.
    """
    task = await db.read(lambda tx: tx.tasks.find(namespace, container))
    if task is None or task.status is not TaskStatus.RUNNING:
        yield
        return
    intent = await db.write(lambda tx: tx.intents.begin(namespace, PAUSED_FOR_COMMIT, container))
    try:
        with suppress(FailedPrecondition, NotFound):  # it has just ended
            await tasks.pause(namespace, container)
        failpoint("commit.paused")
        yield
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
            with suppress(FailedPrecondition, NotFound):
                await tasks.resume(namespace, container)
            await db.write(lambda tx: tx.intents.end(intent.id))
