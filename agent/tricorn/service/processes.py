"""Use cases of containerd's tasks service: a container's first process and its execs, as processes that
are created, started, waited for and deleted one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from typing import Any

import structlog
import trio
from attrs import evolve

from tricorn import limits
from tricorn.errors import AlreadyExists, FailedPrecondition, NotFound
from tricorn.failpoints import failpoint
from tricorn.model import ids
from tricorn.model.oci import Descriptor
from tricorn.model.processes import CgroupFiles, Deleted
from tricorn.model.records import Container, Task, TaskStatus
from tricorn.model.stdio import NULL_STDIO, Stdio
from tricorn.ports import BundleRef, Created, FilesystemMount, Runtime
from tricorn.rules.client_spec import spec_of_its_own
from tricorn.service.execs import Exec, Execs
from tricorn.service.lifecycle import ALIVE, Lifecycle, created_of, shielded
from tricorn.service.process_views import ProcessViews
from tricorn.service.revival import Reviver
from tricorn.service.task_records import delete_event, record_created, record_restored, record_started
from tricorn.service.tasks import TaskService
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)


class ProcessService(ProcessViews):
    """Processes of containers. `exec_id` "" means the container's first process.

    All raise NotFound for unknown containers, tasks and execs, FailedPrecondition where the state of the
    process forbids the call, AlreadyExists for an id that is taken.
    """

    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        lifecycle: Lifecycle,
        tasks: TaskService,
        execs: Execs,
        reviver: Reviver,
    ) -> None:
        self._reviver = reviver
        super().__init__(db, lifecycle, execs)
        self._runtime = runtime
        self._tasks = tasks

    # ------------------------------------------------------------ creation
    async def create(
        self,
        namespace: str,
        container_id: str,
        *,
        rootfs: Sequence[FilesystemMount] = (),
        stdio: Stdio = NULL_STDIO,
        no_pivot_root: bool = False,
        runtime: str = "",
        dump: Descriptor | None = None,
        by_policy: bool = False,
    ) -> Task:
        """Make a container's task from its stored spec; it is started by `start`, or by that restored from
        `dump`, which is compared with the spec here.

        `rootfs` are the mounts of the root file system as the client prepared it (none: of the record's
        snapshot). A container of the agent's own keeps its log when no stdio is given. AlreadyExists when
        there is a task, running or stopped; FailedPrecondition on a cordoned node, unless `by_policy`.
        """
        if not by_policy:
            self._lifecycle.cordon.require_open(f"the start of container {container_id}")
        self._runtime.expect_process()
        async with self._lifecycle.locks.hold(namespace, container_id):
            container, task = await self._lifecycle.records(namespace, container_id)
            if task:
                raise AlreadyExists(
                    f"container {container_id} has a task already", why=f"it is {task.status}",
                    hint=f"delete it first: `ctr -n {namespace} tasks rm -f {container_id}`",
                )  # fmt: skip
            ref = _task_ref(self._bundles.ref(namespace, container), container, stdio)
            ref = evolve(ref, runtime=runtime or ref.runtime, no_pivot=no_pivot_root)
            return await self._create(container, ref, rootfs, dump)

    async def _create(
        self, container: Container, ref: BundleRef, rootfs: Sequence[FilesystemMount], dump: Descriptor | None
    ) -> Task:
        namespace = ref.namespace
        mounts = tuple(rootfs) or await self._lifecycle.mounts(namespace, container)
        spec = self._lifecycle.spec_of(namespace, container, mounted=bool(mounts))
        spec = await self._lifecycle.connected(namespace, container, spec)
        spec = spec if dump is None else spec_of_its_own(spec, ref.id)
        created: Created | None = None
        async with AsyncExitStack() as undo:
            data = {"runtime": ref.runtime}
            intent = await self._lifecycle.announce(undo, namespace, "start", ref.id, data)
            undo.push_async_callback(shielded, self._bundles.remove, namespace, ref.id)
            await self._bundles.renew(namespace, ref.id)
            if dump is None:
                undo.push_async_callback(shielded, self._runtime.delete, ref, None)
            async with self._runtime.ahead(ref) if dump is None else nullcontext():
                await self._bundles.lay_out(namespace, ref.id, mounts, spec)
                failpoint("start.mounted")
                await self._db.flushed()  # nothing runs whose record a loss of power can undo
                if dump is None:
                    created = await self._runtime.create(ref)
                    failpoint("start.created")
                else:
                    await self._reviver.unpack(ref, dump, spec)
            task = self._lifecycle.task_of(ref, created)

            def record(tx: Transaction) -> None:
                record_created(tx, ref, task, mounts)
                tx.intents.end(intent)

            await self._db.write(record, durable=False)
            failpoint("start.recorded")
            undo.pop_all()
        if created:
            self._supervisor.watch(ref, created)
        return task

    async def start(self, namespace: str, container_id: str, exec_id: str = "") -> int:
        """Start a created process and return its pid on the host."""
        if exec_id:
            await self._task(namespace, container_id)
            return await self._execs.start(self._execs.get(namespace, container_id, exec_id))
        async with self._lifecycle.locks.hold(namespace, container_id):
            ref, task = await self._task(namespace, container_id)
            if task.status is not TaskStatus.CREATED:
                raise FailedPrecondition(
                    f"the task of container {container_id} can't be started", why=f"it is {task.status}"
                )
            if task.restoring:
                return await self._restore(ref)
            # a client that goes away now must not leave a running task on record as a created one
            with trio.CancelScope(shield=True):
                async with self._supervisor.starting(namespace, container_id):
                    await self._runtime.start(ref)
                    await self._db.write(
                        lambda tx: record_started(tx, namespace, container_id), durable=False
                    )
            return task.init.pid if task.init else 0

    async def _restore(self, ref: BundleRef) -> int:
        with trio.CancelScope(shield=True):
            intent = await self._db.write(partial(_begin_restore, ref), durable=False)
            try:
                created = await self._reviver.revive(ref)
            except BaseException:  # the task is as it was: it may be started again, or deleted
                await self._db.write(lambda tx: tx.intents.end(intent), durable=False)
                raise
            await self._db.write(partial(record_restored, ref, created, intent))
            failpoint("restore.recorded")
            self._supervisor.watch(ref, created)
            await self._reviver.clear(ref)
        return created.init.pid

    # ------------------------------------------------------------ signals and removal
    async def kill(
        self, namespace: str, container_id: str, signal: int, *, exec_id: str = "", all: bool = False
    ) -> None:
        """Send a signal to the process, or with `all` to every process of the container."""
        ref, task = await self._task(namespace, container_id)
        if exec_id:
            await self._execs.kill(self._execs.get(namespace, container_id, exec_id), signal)
            return
        if task.status not in ALIVE or task.init is None:
            raise NotFound(f"the process of container {container_id} has ended")
        await self._runtime.kill(ref, task.init, signal, all=all)

    async def delete(self, namespace: str, container_id: str, exec_id: str = "") -> Deleted:
        """Remove a stopped (or never started) process. The container's record and snapshot stay.
        FailedPrecondition while it runs.
        """
        if exec_id:
            await self._task(namespace, container_id)
            return await self._execs.remove(self._execs.get(namespace, container_id, exec_id))
        async with self._lifecycle.locks.hold(namespace, container_id):
            ref, task = await self._task(namespace, container_id)
            await self._settled(namespace, task)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
                intent, last = await self._db.write(lambda tx: _forget(tx, ref), durable=False)
                failpoint("delete.recorded")
                self._supervisor.expect_no_more(namespace, container_id)
                self._execs.forget_all(namespace, container_id)
                clear = partial(self._clear, ref, created_of(task))
                await self._lifecycle.clear_up(namespace, container_id, clear, intent)
            code = 137 if last.exit_code is None else last.exit_code
            return Deleted(task.init.pid if task.init else 0, code, last.exited_at)

    async def _settled(self, namespace: str, task: Task) -> None:
        """End a task that never ran. FailedPrecondition for one that runs."""
        if task.status is TaskStatus.CREATED:
            await self._lifecycle.end(namespace, task.container)
        elif task.status in ALIVE:
            raise FailedPrecondition(
                f"the task of container {task.container} must be stopped before it is deleted",
                why=f"it is {task.status}", hint="kill it first",
            )  # fmt: skip

    async def _clear(self, ref: BundleRef, created: Created | None) -> None:
        await self._runtime.delete(ref, created)
        failpoint("delete.runtime")
        await self._bundles.remove(ref.namespace, ref.id)
        failpoint("delete.bundle")

    # ------------------------------------------------------------ execs and stdio
    async def exec(
        self, namespace: str, container_id: str, exec_id: str, process: Mapping[str, Any], stdio: Stdio
    ) -> None:
        """Add a process (an OCI process object) to a running container; `start` starts it."""
        ids.identifier(exec_id, "exec")
        ref, task, _ = await self._alive(namespace, container_id)
        if task.status is TaskStatus.PAUSED:
            raise FailedPrecondition(f"container {container_id} is paused", hint="resume it first")
        await self._execs.add(ref, exec_id, process, stdio)

    async def resize(self, namespace: str, container_id: str, exec_id: str, width: int, height: int) -> None:
        """Tell the process's terminal its size, in characters; without a terminal nothing happens."""
        ref, task, _ = await self._alive(namespace, container_id)
        item = self._execs.get(namespace, container_id, exec_id) if exec_id else None
        if width == 0 or height == 0:  # clients without a terminal of their own say so
            return
        if item is None:
            if task.terminal:
                await self._runtime.resize(ref, height, width)
        elif item.stdio.terminal:
            await self._runtime.resize_exec(_running(item), height, width)

    async def close_io(self, namespace: str, container_id: str, exec_id: str, *, stdin: bool) -> None:
        """Close the process's stdin once what the client wrote to its FIFO has been handed over."""
        ref, task, created = await self._alive(namespace, container_id)
        item = self._execs.get(namespace, container_id, exec_id) if exec_id else None
        if not stdin:
            return
        if item:
            await self._runtime.end_stdin(ref, exec_id, _running(item))
        elif task.stdio is not None:
            await self._runtime.end_stdin(ref, "", created)
        elif ref.stdin and not ref.terminal:
            async with self._runtime.attach(ref) as stream:
                await stream.close_stdin()

    # ------------------------------------------------------------ the whole task
    async def pause(self, namespace: str, container_id: str) -> None:
        """Freeze all processes; idempotent."""
        await self._task(namespace, container_id)
        await self._tasks.pause(namespace, container_id)

    async def resume(self, namespace: str, container_id: str) -> None:
        """Let a paused task go on; idempotent."""
        await self._task(namespace, container_id)
        await self._tasks.resume(namespace, container_id)

    async def pids(self, namespace: str, container_id: str) -> list[tuple[int, str]]:
        """Return all processes of a container: pid on the host, exec id ("" where it isn't an exec's)."""
        ref, _, _ = await self._alive(namespace, container_id)
        execs = self._execs.pids(namespace, container_id)
        return [(pid, execs.get(pid, "")) for pid in await self._runtime.pids(ref)]

    async def update(
        self,
        namespace: str,
        container_id: str,
        resources: Mapping[str, Any],
        annotations: Mapping[str, str] | None = None,  # noqa: ARG002 - none has a meaning for these runtimes
    ) -> None:
        """Change the limits of a running container: `resources` is OCI's `linux.resources`."""
        async with self._lifecycle.locks.hold(namespace, container_id):
            ref, _, _ = await self._alive(namespace, container_id)
            await self._runtime.update(ref, resources)

    async def figures(self, namespace: str, container_id: str) -> CgroupFiles:
        """Return the raw figures of a container's control group."""
        ref, _, _ = await self._alive(namespace, container_id)
        return await self._runtime.cgroup_files(ref)


def _task_ref(ref: BundleRef, container: Container, stdio: Stdio) -> BundleRef:
    """Return what the runtime is to make: with the client's stdio, or with the log that the agent keeps of
    its own containers when the client wants no stdio.
    """
    wanted = stdio != NULL_STDIO and stdio != Stdio(terminal=True)
    if container.desired and not wanted:
        return ref
    return evolve(ref, stdio=stdio, terminal=stdio.terminal)


def _begin_restore(ref: BundleRef, tx: Transaction) -> int:
    return tx.intents.begin(ref.namespace, "restore", ref.id, {"runtime": ref.runtime}).id


def _forget(tx: Transaction, ref: BundleRef) -> tuple[int, Task]:
    last = tx.tasks.get(ref.namespace, ref.id)
    tx.tasks.delete(ref.namespace, ref.id)
    tx.events.publish(ref.namespace, "/tasks/delete", delete_event(tx, ref.id, last))
    intent = tx.intents.begin(ref.namespace, "delete-task", ref.id, {"runtime": ref.runtime})
    return intent.id, last


def _running(item: Exec) -> Created:
    if item.created is None or item.status is not TaskStatus.RUNNING:
        raise FailedPrecondition(f"exec {item.id} is not running", why=f"it is {item.status}")
    return item.created
