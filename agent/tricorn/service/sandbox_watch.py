"""One child task per running sandbox: it waits for the end of the process that holds it, writes it down and
clears up. What an agent before this one left is taken up here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog
import trio
from attrs import Factory, define, evolve

from tricorn.errors import ResourceExhausted, TricornError
from tricorn.failpoints import failpoint
from tricorn.model.sandbox_instances import SandboxInstance, SandboxState
from tricorn.ports import BundleRef, Clock, Created, Exit, Runtime
from tricorn.rules.sandbox_spec import shared_namespaces
from tricorn.service.sandbox_holders import SandboxHolders
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
_LOST: Final = 255  # the exit code of a sandbox whose end nobody can tell
_RETRY: Final = 1.0  # seconds


@define(eq=False)
class LiveSandbox:
    """A sandbox that runs. `ended` is set once its end is on record and its process cleared away."""

    ref: BundleRef
    created: Created
    shared: Mapping[str, str]
    stopping: bool = False
    ended: trio.Event = Factory(trio.Event)


class SandboxWatch:
    """All sandboxes that run, by namespace and id."""

    def __init__(
        self, nursery: trio.Nursery, db: Database, runtime: Runtime, holders: SandboxHolders, clock: Clock
    ) -> None:
        self._nursery = nursery
        self._db = db
        self._runtime = runtime
        self._holders = holders
        self._clock = clock
        self._live: dict[tuple[str, str], LiveSandbox] = {}
        self._changed = trio.Event()

    def change(self, namespace: str, id: str) -> trio.Event:
        """Return what is set when a sandbox that runs has ended, or when any has begun or been forgotten."""
        live = self._live.get((namespace, id))
        return live.ended if live else self._changed

    def note(self) -> None:
        """Tell those who wait for a change."""
        self._changed.set()
        self._changed = trio.Event()

    def get(self, namespace: str, id: str) -> LiveSandbox | None:
        return self._live.get((namespace, id))

    def __len__(self) -> int:
        return len(self._live)

    def begin(self, namespace: str, instance: SandboxInstance, created: Created) -> None:
        """Watch a sandbox that is on record as running."""
        ref = self._holders.ref(namespace, instance.id, instance.runtime)
        live = LiveSandbox(ref, created, shared_namespaces(instance.spec, created.init.pid))
        self._live[namespace, instance.id] = live
        self.note()
        self._nursery.start_soon(self._watch, namespace, instance.id, live, name=f"sandbox {instance.id}")

    async def _watch(self, namespace: str, id: str, live: LiveSandbox) -> None:
        try:
            end = await self._runtime.wait(live.ref, live.created)
            failpoint("sandbox.ended")
            await self._record(namespace, id, end)
            await self._holders.clear(live.ref, live.created)
            log.info("sandbox ended", namespace=namespace, sandbox=id, code=end.code, note=end.note)
        except TricornError as error:
            log.error("a sandbox's end is not on record", namespace=namespace, sandbox=id, error=str(error))
        finally:
            del self._live[namespace, id]
            live.ended.set()

    async def _record(self, namespace: str, id: str, end: Exit) -> None:
        """Write the end down, however long a full disk makes that take."""
        while True:
            try:
                await self._db.write(lambda tx: record_exit(tx, namespace, id, end))
            except ResourceExhausted as error:
                log.warning("a sandbox's end waits for room on disk", sandbox=id, error=str(error))
                await trio.sleep(_RETRY)
            else:
                return

    # ------------------------------------------------------------ after a restart
    async def recover(self, boot_id: str) -> None:
        """Take up what runs, and clear what was being made or removed. May be repeated."""
        known = await self._db.read(lambda tx: tx.sandbox_instances.list_all())
        for namespace, instance in known:
            await self._take_up(namespace, instance, boot_id)
        running = {(namespace, one.id) for namespace, one in known if one.state is SandboxState.RUNNING}
        runtimes = {(namespace, one.id): one.runtime for namespace, one in known}
        for left in self._holders.on_disk() - running:
            await self._clear(*left, runtimes.get(left, ""))

    async def _take_up(self, namespace: str, instance: SandboxInstance, boot_id: str) -> None:
        if instance.state is not SandboxState.RUNNING:
            return
        if instance.boot_id == boot_id and instance.init and instance.monitor:
            self.begin(namespace, instance, Created(instance.init, instance.monitor))
            log.info("sandbox found again", namespace=namespace, sandbox=instance.id)
            return
        end = Exit(_LOST, self._clock.now(), note="lost: the node was restarted")
        await self._db.write(lambda tx: record_exit(tx, namespace, instance.id, end))

    async def _clear(self, namespace: str, id: str, runtime: str) -> None:
        known = await self._runtime.capabilities()
        name = runtime or next((one.name for one in known.values() if "default" in one.features), "")
        ref = self._holders.ref(namespace, id, name)
        try:
            await self._holders.clear(ref, await self._runtime.recover_created(ref))
        except TricornError as error:
            log.error("what is left of a sandbox can't be cleared", sandbox=id, error=error.one_line())


def record_exit(tx: Transaction, namespace: str, id: str, end: Exit) -> None:
    """Write a sandbox's end and its event; one that is gone meanwhile, or has its end, is left alone."""
    found = tx.sandbox_instances.find(namespace, id)
    if found is None or found.state is SandboxState.EXITED:
        return
    tx.sandbox_instances.replace(
        namespace, evolve(found, state=SandboxState.EXITED, exit_code=end.code, exited_at=end.at)
    )
    event = {"sandbox_id": id, "exit_status": end.code, "exited_at": end.at.isoformat()}
    tx.events.publish(namespace, "/sandboxes/exit", event)
