"""Execs as processes of their own: added, started, waited for, removed. They live as long as their container,
whatever becomes of the client that asked and of the agent.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
import trio
from attrs import Factory, define

from tricorn import limits
from tricorn.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted, TricornError
from tricorn.model.execs import KeptExec
from tricorn.model.processes import Deleted, ProcessView
from tricorn.model.records import TaskStatus
from tricorn.model.stdio import Stdio
from tricorn.ports import BundleRef, Clock, Created, Exit, FoundExec, Runtime
from tricorn.service import process_events
from tricorn.store.db import Database

log = structlog.get_logger(__name__)
_NOT_STARTED = 255


@define(eq=False)
class Exec:
    """One exec of a container. `ended` is set with `end`."""

    ref: BundleRef
    id: str
    process: Mapping[str, Any]
    stdio: Stdio
    status: TaskStatus = TaskStatus.CREATED
    created: Created | None = None
    end: Exit | None = None
    ended: trio.Event = Factory(trio.Event)
    changing: trio.Lock = Factory(trio.Lock)
    kept: KeptExec | None = None  # one whose output is logged, rather than a client's

    @property
    def pid(self) -> int:
        return self.created.init.pid if self.created else 0

    def view(self) -> ProcessView:
        return ProcessView(
            self.ref.id, self.status, self.id, self.pid, self.stdio,
            self.end.code if self.end else 0, self.end.at if self.end else None,
        )  # fmt: skip


class Execs:
    """All execs of all containers that clients have started."""

    def __init__(self, nursery: trio.Nursery, db: Database, runtime: Runtime, clock: Clock) -> None:
        self._nursery = nursery
        self._db = db
        self._runtime = runtime
        self._clock = clock
        self._execs: dict[tuple[str, str], dict[str, Exec]] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, db: Database, runtime: Runtime, clock: Clock) -> AsyncIterator[Execs]:
        """Own the watching tasks."""
        async with trio.open_nursery() as nursery:
            try:
                yield cls(nursery, db, runtime, clock)
            finally:
                nursery.cancel_scope.cancel()

    async def add(
        self,
        ref: BundleRef,
        exec_id: str,
        process: Mapping[str, Any],
        stdio: Stdio,
        kept: KeptExec | None = None,
    ) -> None:
        """Note a process to be started. AlreadyExists; ResourceExhausted for too many of one container."""
        known = self._execs.setdefault((ref.namespace, ref.id), {})
        if exec_id in known:
            raise AlreadyExists(f"container {ref.id} has an exec {exec_id} already", field="exec_id")
        if len(known) >= limits.EXECS_PER_CONTAINER:
            raise ResourceExhausted(
                f"container {ref.id} has too many execs", why=f"{len(known)}", hint="delete ended ones"
            )
        known[exec_id] = Exec(ref, exec_id, process, stdio, kept=kept)
        await self._publish(ref, "/tasks/exec-added", process_events.exec_added(ref.id, exec_id))

    def get(self, namespace: str, container: str, exec_id: str) -> Exec:
        """Return an exec. NotFound."""
        found = self._execs.get((namespace, container), {}).get(exec_id)
        if found is None:
            raise NotFound(f"container {container} has no exec {exec_id}", field="exec_id")
        return found

    def list(self, namespace: str, container: str) -> list[Exec]:
        """Return the execs of a container, in the order of their coming."""
        return [*self._execs.get((namespace, container), {}).values()]

    def kept(self) -> Iterator[Exec]:
        """Return those of all containers whose output is logged."""
        for known in [*self._execs.values()]:
            yield from [item for item in known.values() if item.kept]

    def pids(self, namespace: str, container: str) -> dict[int, str]:
        """Return the execs of a container that run, by their pids."""
        known = self._execs.get((namespace, container), {})
        return {item.pid: item.id for item in known.values() if item.status is TaskStatus.RUNNING}

    def running(self) -> int:
        """Return how many run in all containers."""
        return sum(len(self.pids(*key)) for key in self._execs)

    async def start(self, item: Exec) -> int:
        """Start a process that was added; return its pid. One that can't be started has stopped."""
        async with item.changing:
            if item.status is not TaskStatus.CREATED:
                raise FailedPrecondition(f"exec {item.id} was started already", why=f"it is {item.status}")
            try:
                created = await self._started(item)
            except TricornError:
                self._finish(item, Exit(_NOT_STARTED, self._clock.now(), note="it could not be started"))
                raise
            item.created, item.status = created, TaskStatus.RUNNING
            with trio.CancelScope(shield=True):  # it runs: from here on somebody has to watch it
                event = process_events.exec_started(item.ref.id, item.id, item.pid)
                try:
                    await self._publish(item.ref, "/tasks/exec-started", event)
                finally:
                    self._nursery.start_soon(self._watch, item, created, name=f"exec {item.id}")
            return item.pid

    async def _started(self, item: Exec) -> Created:
        if item.kept:
            return await self._runtime.start_kept_exec(item.ref, item.id, item.process, item.kept)
        return await self._runtime.start_exec(item.ref, item.id, item.process, item.stdio)

    def adopt(self, ref: BundleRef, found: Sequence[FoundExec]) -> None:
        """Take up execs that an earlier agent started, ended or not."""
        for each in found:
            item = Exec(ref, each.id, {}, each.stdio, TaskStatus.RUNNING, each.created, kept=each.kept)
            self._execs.setdefault((ref.namespace, ref.id), {})[each.id] = item
            self._nursery.start_soon(self._watch, item, each.created, each.told, name=f"exec {each.id}")

    async def _watch(self, item: Exec, created: Created, told: bool = False) -> None:
        end = await self._runtime.wait_exec(item.ref, item.id, created)
        self._finish(item, end)
        if told:
            return
        event = process_events.exited(item.ref.id, item.id, item.pid, end)
        try:
            with trio.CancelScope(shield=True):  # told and noted as such, or neither
                await self._publish(item.ref, "/tasks/exit", event)
                await self._runtime.note_exec_told(item.ref, item.id)
        except TricornError as error:
            log.error("an exec's end is not in the journal", exec=item.id, error=error.one_line())

    def _finish(self, item: Exec, end: Exit) -> None:
        item.status, item.end = TaskStatus.STOPPED, end
        item.ended.set()

    async def wait(self, item: Exec) -> Exit:
        await item.ended.wait()
        assert item.end is not None
        return item.end

    async def kill(self, item: Exec, number: int) -> None:
        """NotFound for one that has ended, FailedPrecondition for one that wasn't started."""
        if item.status is TaskStatus.CREATED:
            raise FailedPrecondition(f"exec {item.id} was not started")
        if item.created is None or item.status is TaskStatus.STOPPED:
            raise NotFound(f"exec {item.id} has ended")
        await self._runtime.kill_exec(item.ref, item.created, number)

    async def remove(self, item: Exec) -> Deleted:
        """Forget an exec that has ended or wasn't started. FailedPrecondition while it runs."""
        async with item.changing:
            if item.status is TaskStatus.RUNNING:
                raise FailedPrecondition(f"exec {item.id} is running", hint="kill it first")
            await self._runtime.remove_exec(item.ref, item.id)
            self._forget(item)
        at = item.end.at if item.end else None
        deleted = Deleted(item.pid, item.end.code if item.end else 0, at)
        if item.end is None:  # who waits for it waits no longer
            self._finish(item, Exit(_NOT_STARTED, self._clock.now(), note="it was removed before its start"))
        return deleted

    def _forget(self, item: Exec) -> None:
        key = item.ref.namespace, item.ref.id
        known = self._execs.get(key, {})
        if known.get(item.id) is item:
            del known[item.id]
        if not known:
            self._execs.pop(key, None)

    def forget_all(self, namespace: str, container: str) -> None:
        """Forget the execs of a task that is removed; its removal ends them."""
        for item in self._execs.pop((namespace, container), {}).values():
            if item.status is TaskStatus.CREATED:
                self._finish(item, Exit(128 + signal.SIGKILL, self._clock.now(), note="its task was removed"))

    async def _publish(self, ref: BundleRef, topic: str, event: Mapping[str, Any]) -> None:
        await self._db.write(lambda tx: tx.events.publish(ref.namespace, topic, event), durable=False)
