"""The life of a container: created, started, ended, deleted. Each change is journaled by an intent.

An intent is written before the first side effect and ends in the transaction that completes the change;
`recovery.py` undoes or finishes what a crash left between the two. Callers hold the container's lock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from functools import partial
from typing import Any

import structlog
import trio
from attrs import evolve

from tricorn import limits
from tricorn.errors import FailedPrecondition, NotFound
from tricorn.failpoints import failpoint
from tricorn.model.checkpoints import RestorePlan
from tricorn.model.health import HealthView
from tricorn.model.records import Container, Snapshot, SnapshotKind, Task, TaskStatus
from tricorn.model.requests import ContainerDesired
from tricorn.ports import BundleRef, Created, FilesystemMount, Runtime
from tricorn.rules.client_spec import runnable_spec
from tricorn.rules.plan import canonical
from tricorn.rules.restarts import labels_of_hand
from tricorn.rules.user_namespaces import is_shifted, mapped_mounts, wanted_maps
from tricorn.service.attachments import AttachmentService
from tricorn.service.bundles import Bundles
from tricorn.service.catalog import ResolvedImage
from tricorn.service.cordon import Cordon
from tricorn.service.locks import KeyedLock
from tricorn.service.revival import Revival
from tricorn.service.snapshots import SnapshotService
from tricorn.service.specs import SpecFactory
from tricorn.service.supervisor import Supervisor
from tricorn.service.task_records import delete_event, record_created, record_started
from tricorn.service.tidying import Tidier
from tricorn.service.user_namespaces import Placed, UserNamespaces
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
ALIVE = frozenset({TaskStatus.CREATED, TaskStatus.RUNNING, TaskStatus.PAUSED})


class Lifecycle:
    """Makes, starts and removes containers; the services above decide when."""

    def __init__(
        self,
        db: Database,
        snapshots: SnapshotService,
        runtime: Runtime,
        bundles: Bundles,
        specs: SpecFactory,
        supervisor: Supervisor,
        tidier: Tidier,
        boot_id: str,
    ) -> None:
        self._db = db
        self._snapshots = snapshots
        self._runtime = runtime
        self._specs = specs
        self._tidier = tidier
        self._boot_id = boot_id
        self.bundles = bundles
        self.supervisor = supervisor
        self.locks = KeyedLock()
        self.health_of: Callable[[str, str], HealthView | None] = lambda _, __: None
        self.forget_execs: Callable[[str, str], None] = lambda _, __: None  # their task is gone
        self.join: Callable[[str, str, bytes], bytes] | None = None  # what fits a spec into its sandbox
        self.networks: AttachmentService | None = None
        self.cordon = Cordon()  # those who start something new ask it first
        self.owners: UserNamespaces | None = None  # without it only mappings that are asked for are made

    # ------------------------------------------------------------ creation
    async def create(
        self,
        namespace: str,
        container_id: str,
        desired: ContainerDesired,
        image: ResolvedImage,
        *,
        start: bool,
        revival: Revival | None = None,
    ) -> tuple[str, ...]:
        """Make the container, and with `start` run it, in one change; return warnings. With `revival` what
        is started are the processes of a checkpoint.

        AlreadyExists for a known id. On failure nothing is left of it.
        """
        self._runtime.expect_process()
        if self.networks:
            await self.networks.admit(namespace, desired)
        snapshotter = desired.snapshotter or await self._snapshots.default_in(namespace)
        top = image.chain[-1] if image.chain else ""
        wanted = desired.runtime or await self._snapshots.defaults.runtime(namespace)
        runtime = await self._specs.runtime_name(wanted)
        async with (
            self._placed(namespace, desired, snapshotter, top) as placed,
            self._snapshots.reservation(snapshotter) as reservation,
            AsyncExitStack() as undo,
        ):
            parents = await self._snapshots.parents(namespace, snapshotter, placed.top)
            backend_id = reservation.take()
            data = {"snapshotter": snapshotter, "backend_id": backend_id, "runtime": runtime}
            intent = await self.announce(undo, namespace, "create", container_id, data)
            await self._snapshots.backend(snapshotter).create(backend_id, SnapshotKind.ACTIVE, parents)
            failpoint("create.snapshot")
            undo.push_async_callback(shielded, self.bundles.remove_all, namespace, container_id)
            if self.networks:
                await self.networks.release(namespace, container_id)  # one that could not be left in the past
                undo.push_async_callback(shielded, self.networks.release, namespace, container_id)
            mounts = self._snapshots.backend(snapshotter).mounts(backend_id, SnapshotKind.ACTIVE, parents)
            mounts = mapped_mounts(mounts, placed.maps)
            if revival:
                await revival.fill(mounts)
            await self.bundles.make(namespace, container_id, mounts)
            failpoint("create.mounted")
            rootfs = self.bundles.rootfs(namespace, container_id)
            built = await self._specs.build(namespace, container_id, placed.desired, image.config, rootfs)
            container = Container(
                id=container_id, image=image.image.name, image_digest=image.image.target.digest,
                runtime=runtime, snapshotter=snapshotter, snapshot_key=container_id, spec=built.spec,
                desired=canonical(desired), labels={**built.labels, **desired.labels},
            )  # fmt: skip
            if revival and revival.made:
                container = evolve(
                    revival.made, image=container.image, image_digest=container.image_digest,
                    runtime=runtime, snapshotter=snapshotter, snapshot_key=container_id,
                )  # fmt: skip
            snapshot = Snapshot(snapshotter, container_id, SnapshotKind.ACTIVE, backend_id, placed.top)
            ref = self.bundles.ref(namespace, container)
            plan = await revival.check(ref, container.spec) if revival else None
            created = await self._run(undo, namespace, container, start=True, plan=plan) if start else None

            def record(tx: Transaction) -> None:
                tx.snapshots.create(namespace, snapshot)
                tx.containers.create(namespace, container)
                if created:
                    record_created(tx, ref, self.task_of(ref, created))
                    record_started(tx, namespace, container.id)
                if revival and revival.record:
                    revival.record(tx)
                tx.intents.end(intent)

            await self._db.write(record)
            failpoint("create.recorded")
            reservation.keep(backend_id)
            undo.pop_all()
        if created:
            self.supervisor.watch(ref, created)
        return built.warnings

    def _placed(
        self, namespace: str, desired: ContainerDesired, snapshotter: str, top: str
    ) -> AbstractAsyncContextManager[Placed]:
        if self.owners:
            return self.owners.placed(namespace, desired, snapshotter, top)
        return nullcontext(Placed(desired, top, wanted_maps(desired)))

    async def announce(
        self, undo: AsyncExitStack, namespace: str, kind: str, container_id: str, data: dict[str, Any]
    ) -> int:
        """Announce a change; unless the undo stack is emptied, its unwinding ends with the intent."""
        intent = await self._db.write(
            lambda tx: tx.intents.begin(namespace, kind, container_id, data), durable=False
        )
        undo.push_async_callback(shielded, self._db.write, lambda tx: tx.intents.end(intent.id))
        failpoint(f"{kind}.intent")
        return intent.id

    async def _run(
        self,
        undo: AsyncExitStack,
        namespace: str,
        container: Container,
        *,
        start: bool,
        plan: RestorePlan | None = None,
    ) -> Created:
        """Write the bundle's config, create the processes and, with `start`, let them go. Those restored by
        `plan` run at once.
        """
        ref = evolve(self.bundles.ref(namespace, container), restore=plan)
        spec = self.spec_of(namespace, container, mounted=bool(container.snapshot_key))
        spec = await self.connected(namespace, container, spec)
        await self.bundles.write_config(namespace, container.id, spec)
        undo.push_async_callback(shielded, self._runtime.delete, ref, None)
        created = await self._runtime.create(ref)
        failpoint("start.created")
        if start and plan is None:
            await self._runtime.start(ref)
            failpoint("start.started")
        return created

    async def connected(self, namespace: str, container: Container, spec: bytes) -> bytes:
        """Return the spec to run with the container's network in it, which is there then."""
        if self.networks is None or not container.desired:
            return spec
        return await self.networks.spec_for(namespace, container, spec)

    def spec_of(self, namespace: str, container: Container, *, mounted: bool) -> bytes:
        """Return the spec to run: the record's own, or a client's fitted to its bundle; `mounted` tells
        whether the root file system is in the bundle.
        """
        if container.desired:
            return container.spec
        rootfs = self.bundles.rootfs(namespace, container.id) if mounted else ""
        spec = runnable_spec(
            container.spec, rootfs=rootfs, cgroup=self._specs.cgroup_path(namespace, container.id)
        )
        return self.join(namespace, container.sandbox, spec) if container.sandbox and self.join else spec

    def task_of(self, ref: BundleRef, created: Created | None) -> Task:
        """Return the record of a task that was created; without processes, of one that will be restored."""
        return Task(
            container=ref.id, status=TaskStatus.CREATED, init=created.init if created else None,
            monitor=created.monitor if created else None, terminal=ref.terminal, boot_id=self._boot_id,
            stdio=ref.stdio, runtime=ref.runtime, restoring=created is None,
        )  # fmt: skip

    # ------------------------------------------------------------ start
    async def start(self, namespace: str, container_id: str, *, hold: bool = False) -> BundleRef:
        """Give a container a new task and start it; with `hold` only create it, for `release`.

        A task that has been created already is started; a running one is left alone.
        """
        container, task = await self.records(namespace, container_id)
        ref = self.bundles.ref(namespace, container, task if task and task.status in ALIVE else None)
        if task and task.status in {TaskStatus.RUNNING, TaskStatus.PAUSED}:
            return ref
        if task and task.status is TaskStatus.CREATED:
            if not hold:
                await self.release(namespace, ref)
            return ref
        async with AsyncExitStack() as undo:
            intent = await self.announce(undo, namespace, "start", container_id, {})
            undo.push_async_callback(shielded, self.bundles.remove, namespace, container_id)
            if task:
                await self._runtime.delete(self.bundles.ref(namespace, container, task), created_of(task))
                self.forget_execs(namespace, container_id)
            if task or not self.bundles.ready(namespace, container_id):
                await self.bundles.remove(namespace, container_id)
                failpoint("start.cleared")
                await self.mount(namespace, container)
            failpoint("start.mounted")
            created = await self._run(undo, namespace, container, start=not hold)

            def record(tx: Transaction) -> None:
                record_created(tx, ref, self.task_of(ref, created))
                if not hold:
                    record_started(tx, namespace, container_id)
                tx.intents.end(intent)

            await self._db.write(record, durable=False)
            failpoint("start.recorded")
            undo.pop_all()
        self.supervisor.watch(ref, created)
        return ref

    async def release(self, namespace: str, ref: BundleRef) -> None:
        """Let a created task go."""
        async with self.supervisor.starting(namespace, ref.id):
            await self._runtime.start(ref)
            await self._db.write(lambda tx: record_started(tx, namespace, ref.id), durable=False)

    async def mount(self, namespace: str, container: Container) -> None:
        await self.bundles.make(namespace, container.id, await self.mounts(namespace, container))

    async def mounts(self, namespace: str, container: Container) -> tuple[FilesystemMount, ...]:
        """Return the mounts of a container's snapshot; none if it has no snapshot."""
        if not container.snapshot_key:
            return ()
        snapshot = await self._snapshots.get(namespace, container.snapshotter, container.snapshot_key)
        parents = await self._snapshots.parents(namespace, container.snapshotter, snapshot.parent)
        backend = self._snapshots.backend(container.snapshotter)
        mounts = backend.mounts(snapshot.backend_id, snapshot.kind, parents)
        if not container.desired:
            return await self._snapshots.shown(namespace, snapshot, mounts)
        maps = self.bundles.maps(container)
        if maps and snapshot.parent:
            below = await self._snapshots.get(namespace, container.snapshotter, snapshot.parent)
            maps = None if is_shifted(below) else maps
        return mapped_mounts(mounts, maps)

    # ------------------------------------------------------------ deletion
    async def delete(self, namespace: str, container_id: str, *, wait: bool = False) -> None:
        """Remove the container, its processes, files and logs. NotFound.

        Once this returns, record and processes are gone; what is on disk goes right after, and the lock
        stays occupied until then. With `wait` it is gone, too.
        """
        container, task = await self.records(namespace, container_id)
        snapshot = await self._db.look(
            lambda tx: tx.snapshots.find(namespace, container.snapshotter, container.snapshot_key)
        )
        data = {
            "snapshotter": container.snapshotter,
            "backend_id": snapshot.backend_id if snapshot else "",
            "runtime": container.runtime,
        }
        if task and task.status in ALIVE:
            await self.end(namespace, container_id)

        def forget(tx: Transaction) -> int:
            last = tx.tasks.find(namespace, container_id)  # its end may have come since
            if last:
                tx.tasks.delete(namespace, container_id)
                tx.events.publish(namespace, "/tasks/delete", delete_event(tx, container_id, last))
            tx.containers.delete(namespace, container_id)
            tx.attachments.unpublish(namespace, container_id)  # the next one may have its ports at once
            if snapshot:
                tx.snapshots.remove(namespace, container.snapshotter, snapshot.key)
            return tx.intents.begin(namespace, "delete", container_id, data).id

        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
            intent = await self._db.write(forget)
            failpoint("delete.recorded")
            self.supervisor.expect_no_more(namespace, container_id)
            self.forget_execs(namespace, container_id)

            ref = self.bundles.ref(namespace, container, task)
            clear = partial(self.clear, ref, created_of(task), data)
            await self.clear_up(namespace, container_id, clear, intent, wait=wait)

    async def clear_up(
        self,
        namespace: str,
        container_id: str,
        clear: Callable[[], Awaitable[None]],
        intent: int,
        *,
        wait: bool = False,
    ) -> None:
        """Have `clear` done and its intent ended behind the answer, the container's lock occupied until then;
        with `wait` before this returns.
        """

        async def tidy() -> None:
            await clear()
            await self._db.write(lambda tx: tx.intents.end(intent), durable=False)

        if wait:
            await tidy()
        else:
            occupation = self.locks.occupy(namespace, container_id)
            await self._tidier.behind(
                f"{namespace}/{container_id}", tidy, occupation.end, wanted=occupation.wanted
            )

    async def remove_files(self, namespace: str, container_id: str) -> None:
        """Remove the bundle and the logs of a container whose record is gone, behind the answer."""

        async def tidy() -> None:
            await self._db.flushed()
            async with self.locks.hold(namespace, container_id):
                if not await self._db.look(lambda tx: tx.containers.find(namespace, container_id)):
                    await self.bundles.remove_all(namespace, container_id)
                    if self.networks:
                        await self.networks.release(namespace, container_id)

        await self._tidier.behind(f"{namespace}/{container_id}", tidy)

    async def end(self, namespace: str, container_id: str) -> None:
        """Kill whatever runs in a container, wait until its end is on record."""
        container, task = await self.records(namespace, container_id)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
            await self._runtime.delete(self.bundles.ref(namespace, container, task), created_of(task))
            await self.supervisor.ended(namespace, container_id)

    async def clear(self, ref: BundleRef, created: Created | None, data: dict[str, Any]) -> None:
        """Remove all that a container had outside the database; may be repeated."""
        await self._runtime.delete(ref, created)
        failpoint("delete.runtime")
        await self.bundles.remove(ref.namespace, ref.id, logs=True)
        failpoint("delete.bundle")
        if data.get("backend_id"):
            await self._snapshots.discard(data["snapshotter"], data["backend_id"])
        failpoint("delete.snapshot")
        if self.networks:
            await self.networks.release(ref.namespace, ref.id)

    async def note_hand(self, namespace: str, container_id: str, *, stopped: bool) -> None:
        """Write down that a container with a restart policy is started or stopped by hand."""
        if not await self._db.look(lambda tx: _hand(tx, namespace, container_id, stopped=stopped)):
            return

        def write(tx: Transaction) -> None:
            labels = _hand(tx, namespace, container_id, stopped=stopped)
            tx.containers.update(namespace, container_id, labels=labels)

        await self._db.write(write)

    # ------------------------------------------------------------ records
    async def records(self, namespace: str, container_id: str) -> tuple[Container, Task | None]:
        """Return a container and its task. NotFound names the container."""
        container, task = await self._read(namespace, container_id)
        if task and task.status in ALIVE and self.supervisor.over(namespace, container_id):
            # waiters are told of an end before it is on record: what they ask next must fit
            await self.supervisor.ended(namespace, container_id)
            container, task = await self._read(namespace, container_id)
        if container is None:
            raise NotFound(
                f"container {container_id} does not exist in namespace {namespace}",
                hint=f"`tricorn -n {namespace} ps -a` lists what there is",
            )
        return container, task

    async def _read(self, namespace: str, container_id: str) -> tuple[Container | None, Task | None]:
        return await self._db.look(
            lambda tx: (tx.containers.find(namespace, container_id), tx.tasks.find(namespace, container_id))
        )

    async def live(self, namespace: str, container_id: str) -> tuple[BundleRef, Container, Task]:
        """Return the parts of a running container; FailedPrecondition when it isn't running."""
        container, task = await self.records(namespace, container_id)
        if task is None or task.status not in {TaskStatus.RUNNING, TaskStatus.PAUSED}:
            state = task.status if task else "without a task"
            raise FailedPrecondition(
                f"container {container_id} is not running",
                why=f"it is {state}",
                hint=f"start it: `tricorn -n {namespace} start {container_id}`",
            )
        return self.bundles.ref(namespace, container, task), container, task


def _hand(tx: Transaction, namespace: str, container_id: str, *, stopped: bool) -> Mapping[str, str]:
    container = tx.containers.find(namespace, container_id)
    return labels_of_hand(container, stopped=stopped) if container else {}


def created_of(task: Task | None) -> Created | None:
    """Return the processes a task record names."""
    return Created(task.init, task.monitor) if task and task.init and task.monitor else None


async def shielded(work: Callable[..., Awaitable[object]], *args: Any) -> None:
    """Run a step of clean-up that cancellation may not interrupt, with a deadline of its own."""
    with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
        await work(*args)
