"""What containers use now: all of them at once, for metrics and live views."""

from __future__ import annotations

from collections.abc import Sequence

from tricorn.model.records import Container, Task, TaskStatus
from tricorn.model.samples import ContainerSample, ProcessInfo
from tricorn.ports import BundleRef, Clock, Runtime
from tricorn.service.lifecycle import Lifecycle
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

_RUNNING = frozenset({TaskStatus.RUNNING, TaskStatus.PAUSED})
_Target = tuple[str, Container, Task, BundleRef]


class SampleService:
    def __init__(self, db: Database, runtime: Runtime, lifecycle: Lifecycle, clock: Clock) -> None:
        self._db = db
        self._runtime = runtime
        self._lifecycle = lifecycle
        self._clock = clock

    async def take(self, namespace: str | None = None, names: Sequence[str] = ()) -> list[ContainerSample]:
        """Return what the running containers of a namespace (None: of all) use, or those that are named.
        NotFound, and FailedPrecondition for a named one that doesn't run.
        """
        if namespace is not None:
            for name in names:
                await self._lifecycle.live(namespace, name)

        def read(tx: Transaction) -> list[tuple[str, Container, Task]]:
            return [
                (ns, container, task)
                for ns, task in tx.tasks.list_all()
                if task.status in _RUNNING
                and namespace in {None, ns}
                and (not names or task.container in names)
                if (container := tx.containers.find(ns, task.container)) is not None
            ]

        bundles = self._lifecycle.bundles
        targets = [
            (ns, container, task, bundles.ref(ns, container, task))
            for ns, container, task in await self._db.read(read)
        ]
        return await self._sampled(targets)

    async def _sampled(self, targets: Sequence[_Target]) -> list[ContainerSample]:
        taken = await self._runtime.sample([(ref, task.init) for _, _, task, ref in targets])
        now = self._clock.now()
        return [
            ContainerSample(
                ns, container.id, container.image, ref.runtime, str(task.status),
                task.init.pid if task.init else 0, sample.cgroup, now, task.started_at, sample.figures,
                sample.network,
            )
            for (ns, container, task, ref), sample in zip(targets, taken, strict=True)
            if sample is not None
        ]  # fmt: skip

    async def processes(self, namespace: str, container_id: str) -> list[ProcessInfo]:
        """Return the processes of a running container, by their pids on the node."""
        ref, _, _ = await self._lifecycle.live(namespace, container_id)
        return await self._runtime.processes(ref)
