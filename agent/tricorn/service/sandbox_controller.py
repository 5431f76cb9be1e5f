"""Use cases of containerd's sandbox controllers: sandboxes that are created, started, waited for, stopped and
shut down. One has namespaces that its containers share, and a process that holds them.

It is there as long as that process: containers can join it only then. Its record in the store is its client's
and goes by itself.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio
from attrs import evolve

from tricorn import limits
from tricorn.errors import FailedPrecondition, NotFound
from tricorn.failpoints import failpoint
from tricorn.model.oci import Platform
from tricorn.model.processes import CgroupFiles
from tricorn.model.records import Sandbox
from tricorn.model.sandbox_instances import SandboxInstance, SandboxState, SandboxStatus
from tricorn.ports import Clock, Exit, Runtime
from tricorn.rules.sandbox_spec import holder_spec, joined_spec, limits_of
from tricorn.service.container_records import ContainerRecords
from tricorn.service.lifecycle import Lifecycle
from tricorn.service.locks import KeyedLock
from tricorn.service.sandbox_holders import SandboxHolders
from tricorn.service.sandbox_members import SandboxMembers
from tricorn.service.sandbox_watch import LiveSandbox, SandboxWatch
from tricorn.service.specs import SpecFactory
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

SANDBOXER: Final = "shim"  # what containerd calls its default controller
_PATIENCE: Final = 5.0  # seconds for the holder to end by itself
_AGAIN: Final = 0.1  # seconds until it is told once more


class SandboxController:
    """All raise NotFound for sandboxes that weren't created, except where containerd's controller doesn't."""

    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        holders: SandboxHolders,
        watch: SandboxWatch,
        specs: SpecFactory,
        records: ContainerRecords,
        members: SandboxMembers,
        clock: Clock,
        boot_id: str,
        machine: Platform,
    ) -> None:
        self._db = db
        self._runtime = runtime
        self._holders = holders
        self._watch = watch
        self._specs = specs
        self.records = records
        self._members = members
        self._clock = clock
        self._boot_id = boot_id
        self._machine = machine
        self._locks = KeyedLock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        db: Database,
        runtime: Runtime,
        holders: SandboxHolders,
        specs: SpecFactory,
        records: ContainerRecords,
        members: SandboxMembers,
        lifecycle: Lifecycle,
        clock: Clock,
        boot_id: str,
        machine: Platform,
    ) -> AsyncIterator[SandboxController]:
        """Take up what runs already, and own its watching; at the exit the sandboxes go on. Containers that
        `lifecycle` starts can join them.
        """
        async with trio.open_nursery() as nursery:
            watch = SandboxWatch(nursery, db, runtime, holders, clock)
            await watch.recover(boot_id)
            controller = cls(db, runtime, holders, watch, specs, records, members, clock, boot_id, machine)
            lifecycle.join = controller.joined
            try:
                yield controller
            finally:
                nursery.cancel_scope.cancel()

    def running(self) -> int:
        return len(self._watch)

    @staticmethod
    def check(sandboxer: str) -> None:
        """NotFound for a controller that this agent hasn't; "" stands for its only one."""
        if sandboxer not in {"", SANDBOXER}:
            raise NotFound(
                f"there is no sandbox controller {sandboxer[:100]!r}", hint=f"use {SANDBOXER!r}",
                field="sandboxer",
            )  # fmt: skip

    # ------------------------------------------------------------ life
    async def create(
        self,
        namespace: str,
        sandbox: Sandbox,
        *,
        netns: str = "",
        annotations: Mapping[str, str] | None = None,
        binary: str = "",
    ) -> None:
        """Make a sandbox as its record describes it; `start` starts it.

        `netns` is the path of the network namespace to be in, `binary` the OCI runtime that the runtime's
        options name. AlreadyExists; InvalidArgument and Unimplemented for specs that can't be held.
        """
        self.records.require_open(f"sandbox {sandbox.id}")
        async with self._locks.hold(namespace, sandbox.id):
            await self._create(namespace, sandbox, netns, annotations or {}, binary)

    async def _create(
        self, namespace: str, sandbox: Sandbox, netns: str, annotations: Mapping[str, str], binary: str
    ) -> SandboxInstance:
        name = sandbox.runtime.name
        runtime = await (self.records.runtime(name, binary) if name else self._specs.runtime_name(""))
        spec = holder_spec(
            sandbox.spec.value if sandbox.spec else b"", netns=netns, annotations=annotations,
            cgroup=self._specs.cgroup_path(namespace, self._holders.name(sandbox.id)),
            rootfs=self._holders.rootfs(namespace, sandbox.id),
        )  # fmt: skip
        instance = SandboxInstance(sandbox.id, runtime, spec, created_at=self._clock.now())

        def record(tx: Transaction) -> None:
            tx.sandbox_instances.create(namespace, instance)
            tx.events.publish(namespace, "/sandboxes/create", {"sandbox_id": sandbox.id})

        await self._db.write(record)
        failpoint("sandbox.created")
        return instance

    async def start(self, namespace: str, id: str) -> SandboxInstance:
        """Start a sandbox; one that only has its record in the store is created first, as some clients leave
        that out. FailedPrecondition for one that was started before. One that can't be started is gone.
        """
        self.records.require_open(f"the start of sandbox {id}")
        async with self._locks.hold(namespace, id):
            instance = await self._db.read(lambda tx: tx.sandbox_instances.find(namespace, id))
            if instance is None:
                stored = await self._db.read(lambda tx: tx.sandboxes.get(namespace, id))
                instance = await self._create(namespace, stored, "", {}, "")
            if instance.state is not SandboxState.CREATED:
                raise FailedPrecondition(
                    f"sandbox {id} can't be started", why=f"it is {instance.state}",
                    hint="shut it down and create it anew",
                )  # fmt: skip
            try:
                return await self._start(namespace, instance)
            except BaseException:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
                    await self._db.write(lambda tx: _forget_unstarted(tx, namespace, id))
                raise

    async def _start(self, namespace: str, instance: SandboxInstance) -> SandboxInstance:
        ref = self._holders.ref(namespace, instance.id, instance.runtime)
        created = await self._holders.run(ref, instance.spec)
        failpoint("sandbox.running")
        started = evolve(
            instance, state=SandboxState.RUNNING, init=created.init, monitor=created.monitor,
            boot_id=self._boot_id, started_at=self._clock.now(),
        )  # fmt: skip

        def record(tx: Transaction) -> None:
            tx.sandbox_instances.replace(namespace, started)
            tx.events.publish(namespace, "/sandboxes/start", {"sandbox_id": instance.id})

        with trio.CancelScope(shield=True):  # it runs: from here on somebody has to watch it
            try:
                await self._db.write(record)
            except BaseException:
                await self._holders.clear(ref, created)
                raise
            self._watch.begin(namespace, started, created)
        return started

    async def stop(self, namespace: str, id: str, grace: float = 0.0) -> None:
        """End a sandbox and the processes of its containers, those that don't end by themselves within
        `grace` seconds by force. One that isn't there, or doesn't run, is left as it is.
        """
        async with self._locks.hold(namespace, id):
            await self._stop(namespace, id, grace, delete=False)

    async def shutdown(self, namespace: str, id: str) -> None:
        """End a sandbox and delete the tasks of its containers; then nothing of it is left but its record."""
        async with self._locks.hold(namespace, id):
            instance = await self._get(namespace, id)
            await self._stop(namespace, id, 0.0, delete=True)
            await self._holders.clear(self._holders.ref(namespace, id, instance.runtime))
            failpoint("sandbox.cleared")
            await self._db.write(lambda tx: tx.sandbox_instances.delete(namespace, id))
            self._watch.note()

    async def _stop(self, namespace: str, id: str, grace: float, *, delete: bool) -> None:
        live = self._watch.get(namespace, id)
        if live:
            live.stopping = True  # nobody joins any more
        await self._members.end(namespace, id, grace, delete=delete)
        if live:
            await self._end(live)
            await self._members.end(namespace, id, 0.0, delete=delete)  # who was about to join

    async def _end(self, live: LiveSandbox) -> None:
        with trio.move_on_after(_PATIENCE):
            while not live.ended.is_set():  # one that was started this moment doesn't hear its first signal
                await self._signal(live, signal.SIGTERM)
                with trio.move_on_after(_AGAIN):
                    await live.ended.wait()
        if not live.ended.is_set():
            await self._signal(live, signal.SIGKILL)
            await live.ended.wait()

    async def _signal(self, live: LiveSandbox, number: int) -> None:
        with suppress(NotFound):
            await self._runtime.kill(live.ref, live.created.init, number)

    # ------------------------------------------------------------ looking
    async def _get(self, namespace: str, id: str) -> SandboxInstance:
        return await self._db.read(lambda tx: tx.sandbox_instances.get(namespace, id))

    async def wait(self, namespace: str, id: str) -> Exit:
        """Return how a sandbox ended, once it has; one that wasn't started yet is waited for, too."""
        while True:
            change = self._watch.change(namespace, id)  # before looking: it may come meanwhile
            instance = await self._get(namespace, id)
            if instance.state is SandboxState.EXITED:
                return Exit(instance.exit_code, instance.exited_at or self._clock.now())
            await change.wait()

    async def status(self, namespace: str, id: str) -> SandboxStatus:
        """Return the state of a sandbox. One that isn't there has none, and is said to have ended now."""
        found = await self._db.read(lambda tx: tx.sandbox_instances.find(namespace, id))
        if found is None:
            return SandboxStatus(id, exited_at=self._clock.now())
        live = self._watch.get(namespace, id)
        return SandboxStatus(
            id, found.state, live.created.init.pid if live else 0, found.created_at, found.exited_at,
            found.runtime, dict(live.shared) if live else {},
        )  # fmt: skip

    async def platform(self, namespace: str, id: str) -> Platform:
        """Return what containers of a sandbox run on: this machine."""
        await self._get(namespace, id)
        return self._machine

    async def figures(self, namespace: str, id: str) -> CgroupFiles:
        """Return the raw figures of a sandbox's control group; FailedPrecondition unless it runs."""
        await self._get(namespace, id)
        return await self._runtime.cgroup_files(self._running(namespace, id).ref)

    async def update(self, namespace: str, id: str, sandbox: Sandbox, fields: Sequence[str] = ()) -> None:
        """Have a running sandbox follow its record, where `fields` (none: all) are about what runs: the
        limits in its spec.
        """
        await self._get(namespace, id)
        if sandbox.spec and (not fields or "spec" in fields) and self._watch.get(namespace, id):
            wanted = limits_of(sandbox.spec.value)
            if wanted:
                await self._runtime.update(self._running(namespace, id).ref, wanted)

    def _running(self, namespace: str, id: str) -> LiveSandbox:
        live = self._watch.get(namespace, id)
        if live is None or live.stopping:
            raise FailedPrecondition(f"sandbox {id} is not running", hint="Controller.Start starts it")
        return live

    # ------------------------------------------------------------ containers
    def joined(self, namespace: str, id: str, spec: bytes) -> bytes:
        """Return the spec of a container that joins a sandbox. FailedPrecondition unless that runs."""
        return joined_spec(spec, self._running(namespace, id).shared)


def _forget_unstarted(tx: Transaction, namespace: str, id: str) -> None:
    found = tx.sandbox_instances.find(namespace, id)
    if found and found.state is SandboxState.CREATED:
        tx.sandbox_instances.delete(namespace, id)
