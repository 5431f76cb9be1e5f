"""What a start does about the end of the agent before it: finish, undo, sweep, watch again.

Every step may be repeated: a crash in here is no different from one before.
"""

from __future__ import annotations

import structlog
from attrs import evolve

from tricorn.errors import TricornError
from tricorn.model.records import Container, Intent, Task, TaskStatus
from tricorn.ports import BundleRef, Clock, Created, Exit, Runtime
from tricorn.service.dumps import Dumper
from tricorn.service.execs import Execs
from tricorn.service.gc import GcService
from tricorn.service.held_lease import shorten_left
from tricorn.service.lazy_memory import LazyMemory
from tricorn.service.lifecycle import ALIVE, Lifecycle, created_of
from tricorn.service.specs import SpecFactory
from tricorn.service.still_container import PAUSED_FOR_COMMIT
from tricorn.service.supervisor import record_exit
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
_LOST = 255  # the exit code of a task whose end nobody can tell


class Recovery:
    """Runs once, before the doors open."""

    def __init__(
        self,
        db: Database,
        content: ContentStore,
        gc: GcService,
        runtime: Runtime,
        lifecycle: Lifecycle,
        specs: SpecFactory,
        clock: Clock,
        boot_id: str,
        dumper: Dumper | None = None,
    ) -> None:
        self._dumper = dumper
        self.execs: Execs | None = None  # who goes on with the execs that are found
        self.lazy: LazyMemory | None = None  # who looks after memory that is still to come
        self._db = db
        self._content = content
        self._gc = gc
        self._runtime = runtime
        self._lifecycle = lifecycle
        self._specs = specs
        self._clock = clock
        self._boot_id = boot_id

    async def run(self) -> None:
        """Bring node and records together again."""
        for intent in await self._db.read(lambda tx: tx.intents.list_all()):
            await self._resolve(intent)
        await self._resume_tasks()
        await self._sweep_bundles()
        if self._lifecycle.networks:
            await self._lifecycle.networks.recover()
        if left := await shorten_left(self._db):
            log.info("leases of work that was cut short expire soon", leases=left)
        await self._gc.sweep()
        await self._content.sweep()

    # ------------------------------------------------------------ intents
    async def _resolve(self, intent: Intent) -> None:
        try:
            await self._clear(intent)
        except TricornError as error:
            # The intent stays: the next start tries again, and this one can serve everything else.
            log.error(
                "an unfinished change could not be cleared",
                intent=intent.kind,
                object=intent.object,
                error=error.one_line(),
            )
            return
        await self._db.write(lambda tx: tx.intents.end(intent.id))
        log.info(
            "unfinished change cleared", change=intent.kind, namespace=intent.namespace, object=intent.object
        )

    async def _clear(self, intent: Intent) -> None:
        namespace, name = intent.namespace, intent.object
        container = await self._db.read(lambda tx: tx.containers.find(namespace, name))
        if intent.kind == PAUSED_FOR_COMMIT:
            await self._thaw(namespace, container)
        elif intent.kind == "start" and container:
            await self._undo_start(namespace, _as_run(container, intent))
        elif intent.kind == "restore" and container:
            await self._undo_restore(namespace, _as_run(container, intent))
        elif intent.kind == "checkpoint":
            await self._settle_dump(namespace, name, container, intent)
        elif intent.kind == "delete-task" and container:
            await self._clear_task(namespace, _as_run(container, intent))
        elif container is None:
            ref = await self._orphan(namespace, name, str(intent.data.get("runtime", "")))
            created = await self._runtime.recover_created(ref)
            await self._lifecycle.clear(ref, created, dict(intent.data))

    async def _thaw(self, namespace: str, container: Container | None) -> None:
        """Let a container go on that was held still for a commit."""
        task = await self._db.read(lambda tx: tx.tasks.find(namespace, container.id)) if container else None
        if container is None or task is None or task.status not in ALIVE or task.boot_id != self._boot_id:
            return
        await self._runtime.resume(self._lifecycle.bundles.ref(namespace, container, task))

        def record(tx: Transaction) -> None:
            current = tx.tasks.get(namespace, container.id)
            if current.status is TaskStatus.PAUSED:
                tx.tasks.put(namespace, evolve(current, status=TaskStatus.RUNNING))
                tx.events.publish(namespace, "/tasks/resumed", {"container_id": container.id})

        await self._db.write(record)

    async def _undo_start(self, namespace: str, container: Container) -> None:
        """Take back a task that never got its record; the container is as it was: stopped, or new."""
        await self._clear_task(namespace, container)

        def settle(tx: Transaction) -> None:
            task = tx.tasks.find(namespace, container.id)
            if task and task.status in ALIVE:
                record_exit(tx, namespace, container.id, self._lost("its start was interrupted"))

        await self._db.write(settle)

    async def _clear_task(self, namespace: str, container: Container) -> None:
        """Remove a task's processes and bundle; container and snapshot stay."""
        ref = self._lifecycle.bundles.ref(namespace, container)
        await self._runtime.delete(ref, await self._runtime.recover_created(ref))
        await self._lifecycle.bundles.remove(namespace, container.id)

    async def _undo_restore(self, namespace: str, container: Container) -> None:
        """Remove processes that were restored but not recorded; the task may be started again."""
        ref = self._lifecycle.bundles.ref(namespace, container)
        await self._runtime.delete(ref, await self._runtime.recover_created(ref))

    async def _settle_dump(
        self, namespace: str, name: str, container: Container | None, intent: Intent
    ) -> None:
        """Let a container go on that was being dumped, and remove what there is of the dump."""
        if self._dumper is None:
            return
        if container is None:
            await self._dumper.clear(namespace, name)
            return
        task = await self._db.read(lambda tx: tx.tasks.find(namespace, name))
        ref = self._lifecycle.bundles.ref(namespace, _as_run(container, intent), task)
        await self._dumper.recover(ref, task)

    # ------------------------------------------------------------ tasks
    async def _resume_tasks(self) -> None:
        for namespace, task in await self._db.read(lambda tx: tx.tasks.list_all()):
            if task.status in ALIVE:
                await self._resume(namespace, task)

    async def _resume(self, namespace: str, task: Task) -> None:
        container = await self._db.read(lambda tx: tx.containers.find(namespace, task.container))
        created = created_of(task)
        if task.restoring and container and task.boot_id == self._boot_id:
            return  # its dump waits for the start
        if container is None or created is None:
            await self._end(namespace, task, "its record is incomplete")
        elif task.boot_id != self._boot_id:
            await self._end(namespace, task, "the node was restarted")
        else:
            ref = self._lifecycle.bundles.ref(namespace, container, task)
            if self.lazy is None or not await self.lazy.take_up(ref, created):
                await self._lifecycle.bundles.drop_dump(namespace, task.container)
            await self._take_up(ref, created)
            log.info("task found again", namespace=namespace, container=task.container, pid=created.init.pid)

    async def _take_up(self, ref: BundleRef, created: Created) -> None:
        try:
            found = await self._runtime.reconnect(ref, created)
            if self.execs is not None:
                self.execs.adopt(ref, found)
        except TricornError as error:
            log.error("a task's stdio is lost", container=ref.id, error=error.one_line())
        self._lifecycle.supervisor.watch(ref, created)

    async def _end(self, namespace: str, task: Task, why: str) -> None:
        await self._db.write(lambda tx: record_exit(tx, namespace, task.container, self._lost(why)))
        log.warning("task lost", namespace=namespace, container=task.container, why=why)

    def _lost(self, why: str) -> Exit:
        return Exit(code=_LOST, at=self._clock.now(), note=f"lost: {why}")

    # ------------------------------------------------------------ orphans
    async def _sweep_bundles(self) -> None:
        """Remove bundles and logs of containers that no record knows."""
        containers = await self._db.read(lambda tx: tx.containers.list_all())
        known = {(namespace, container.id) for namespace, container in containers}
        for namespace, name in self._lifecycle.bundles.on_disk() - known:
            ref = await self._orphan(namespace, name, "")
            created = await self._runtime.recover_created(ref)
            await self._runtime.delete(ref, created)
            await self._lifecycle.bundles.remove(namespace, name, logs=True)
            log.info("orphaned bundle removed", namespace=namespace, container=name)

    async def _orphan(self, namespace: str, name: str, runtime: str) -> BundleRef:
        runtime = await self._specs.runtime_name(runtime)
        return self._lifecycle.bundles.ref(namespace, Container(name, runtime=runtime, desired={"image": ""}))


def _as_run(container: Container, intent: Intent) -> Container:
    """Return the container with the runtime that its task had."""
    return evolve(container, runtime=str(intent.data.get("runtime") or container.runtime))
