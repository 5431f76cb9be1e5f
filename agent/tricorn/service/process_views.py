"""Looking at processes, and waiting for them, whichever door they came in by."""

from __future__ import annotations

from contextlib import suppress

from tricorn.errors import FailedPrecondition, NotFound
from tricorn.model.processes import ProcessView
from tricorn.model.records import Task, TaskStatus
from tricorn.model.stdio import Stdio
from tricorn.ports import BundleRef, Created, Exit
from tricorn.service.execs import Execs
from tricorn.service.lifecycle import ALIVE, Lifecycle, created_of
from tricorn.store.db import Database

_UNKNOWN = 255  # the exit code when nobody saw the end


class ProcessViews:
    """The reading half of `ProcessService`."""

    def __init__(self, db: Database, lifecycle: Lifecycle, execs: Execs) -> None:
        self._db = db
        self._lifecycle = lifecycle
        self._supervisor = lifecycle.supervisor
        self._bundles = lifecycle.bundles
        self._execs = execs

    async def get(self, namespace: str, container_id: str, exec_id: str = "") -> ProcessView:
        _, task = await self._task(namespace, container_id)
        if exec_id:
            return self._execs.get(namespace, container_id, exec_id).view()
        return self._view(task)

    def _view(self, task: Task) -> ProcessView:
        stopped = task.status is TaskStatus.STOPPED
        return ProcessView(
            task.container, task.status, "", task.init.pid if task.init else 0,
            task.stdio or Stdio(terminal=task.terminal),
            (_UNKNOWN if task.exit_code is None else task.exit_code) if stopped else 0,
            task.exited_at if stopped else None,
        )  # fmt: skip

    async def wait(self, namespace: str, container_id: str, exec_id: str = "") -> Exit:
        """Return how the process ended, once it has."""
        if exec_id:
            await self._task(namespace, container_id)
            return await self._execs.wait(self._execs.get(namespace, container_id, exec_id))
        end = await self._supervisor.result(namespace, container_id)
        if end:
            return end
        _, task = await self._task(namespace, container_id)
        if task.restoring:  # there is no process before the start
            await self._supervisor.watched(namespace, container_id)
            return await self.wait(namespace, container_id)
        if task.status is not TaskStatus.STOPPED:  # its watch failed, or begins this moment
            end = await self._supervisor.result(namespace, container_id)
            if end is None:
                raise FailedPrecondition(f"the task of container {container_id} is not watched")
            return end
        code = _UNKNOWN if task.exit_code is None else task.exit_code
        assert task.exited_at is not None, "a stopped task has its time"
        return Exit(code, task.exited_at, task.oom_killed, task.exit_note)

    async def _task(self, namespace: str, container_id: str) -> tuple[BundleRef, Task]:
        container, task = await self._lifecycle.records(namespace, container_id)
        if task is None:
            raise NotFound(
                f"container {container_id} has no task in namespace {namespace}",
                hint=f"start one: `ctr -n {namespace} tasks start {container_id}`",
            )
        return self._bundles.ref(namespace, container, task), task

    async def _alive(self, namespace: str, container_id: str) -> tuple[BundleRef, Task, Created]:
        """FailedPrecondition for a task that has stopped."""
        ref, task = await self._task(namespace, container_id)
        created = created_of(task)
        if task.status not in ALIVE or created is None:
            raise FailedPrecondition(f"the task of container {container_id} has stopped")
        return ref, task, created

    async def list(self, namespace: str) -> list[ProcessView]:
        """Return the first processes of all tasks of the namespace."""
        found = []
        for task in await self._db.read(lambda tx: tx.tasks.list(namespace)):
            if task.status in ALIVE and self._supervisor.over(namespace, task.container):
                with suppress(NotFound):
                    found.append(await self.get(namespace, task.container))
            else:
                found.append(self._view(task))
        return found
