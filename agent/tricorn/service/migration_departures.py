"""The source's side of migrations, carried out."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Final
from uuid import uuid4

import structlog
import trio
from attrs import evolve

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument, TricornError, Unavailable
from tricorn.model import ids
from tricorn.model.migrations import PATH, Left, MigrateRequest, Migration, Start, State
from tricorn.model.records import Container, Task, TaskStatus
from tricorn.model.reference import Reference
from tricorn.ports import BundleRef
from tricorn.rules.migration import ASKED, verdict
from tricorn.rules.migration_image import repository_of
from tricorn.rules.migration_rounds import check_request
from tricorn.runtime.fifo_users import attached
from tricorn.service.held_lease import held_lease
from tricorn.service.migration_departure import Departure, refusal
from tricorn.service.migration_leftovers import Leftovers
from tricorn.service.migration_parts import MigrationParts, MigrationSettings
from tricorn.service.migration_rounds import Rounds
from tricorn.service.migration_settlements import LAST_WORD, Settlements
from tricorn.service.migration_ways import ByRegistry, Straight
from tricorn.service.progress import Reporter

log = structlog.get_logger(__name__)
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})")


class Departures(Settlements):
    def __init__(self, parts: MigrationParts, settings: MigrationSettings) -> None:
        super().__init__(parts, settings)
        self._moving: set[tuple[str, str]] = set()  # a round of one would spoil those of another

    async def migrate(
        self, namespace: str, container_id: str, request: MigrateRequest, report: Reporter
    ) -> Migration:
        """Move a running container to another node, and delete it here.

        It stands still only while its memory and what changed last in its files go over. Whatever fails
        before the target was told to start it lets it go on here, as does a target that says it hasn't.
        Unavailable when nobody can tell: it stands still here until the target is heard again.
        """
        name = request.name or container_id
        request = evolve(request, via=repository_of(request.via))
        check_request(request)
        ids.identifier(name, "name")
        address = self._address(request.to)
        ref, container, task = await self._ready(namespace, container_id)
        with self._alone(namespace, container_id):
            migration = Migration(
                uuid4().hex[:16], "out", namespace, container_id, name, request.to, address, "preflight"
            )
            migration = await self._parts.db.write(lambda tx: tx.migrations.create(migration))
            self._active.add(migration.id)
            try:
                async with self._link(migration) as link:
                    way = Straight(link, f"{PATH}/{migration.id}")
                    departure = Departure(self._parts, link, way, migration, request, report)
                    return await self._depart(departure, ref, container, task)
            finally:
                self._active.discard(migration.id)
                self._unsettled.set()

    @contextmanager
    def _alone(self, namespace: str, name: str) -> Iterator[None]:
        """Refuse another migration of the container within."""
        if (namespace, name) in self._moving:
            raise FailedPrecondition(
                f"container {name} is being migrated already",
                hint=f"`tricorn -n {namespace} migrations ls` tells where to",
            )
        self._moving.add((namespace, name))
        try:
            yield
        finally:
            self._moving.discard((namespace, name))

    def _address(self, node: str) -> str:
        address = self._settings.nodes.get(node, node)
        match = _ADDRESS.fullmatch(address)
        if match is None or not 0 < int(match[2]) < 65536:
            known = ", ".join(sorted(self._settings.nodes)) or "none"
            raise InvalidArgument(
                f"node {node[:100]!r} is unknown", why=f"the configuration has {known}",
                hint="name one of [peers.nodes], or HOST:PORT of its agent's door for nodes", field="to",
            )  # fmt: skip
        return address

    async def _ready(self, namespace: str, container_id: str) -> tuple[BundleRef, Container, Task]:
        ref, container, task = await self._parts.lifecycle.live(namespace, container_id)
        if task.status is not TaskStatus.RUNNING or task.restoring:
            raise FailedPrecondition(f"container {container_id} is {task.status}", hint="let it run first")
        if self._parts.runtime.lazy_state(ref) == "serving":
            raise FailedPrecondition(
                f"container {container_id} can't be migrated", why="it is still being given its memory",
                hint="try again in a few seconds",
            )  # fmt: skip
        if not container.snapshot_key or not container.image:
            raise FailedPrecondition(
                f"container {container_id} can't be migrated",
                why="its client gave it a root file system that comes of no image",
            )
        if task.stdio is not None and task.monitor is not None:
            own = {os.getpid(), task.monitor.pid}
            if place := await trio.to_thread.run_sync(attached, task.stdio, own):
                raise FailedPrecondition(
                    f"container {container_id} can't be migrated while a client has its stdio",
                    why=f"somebody has {place} open", hint="end the client that is attached to it (Ctrl-C)",
                )  # fmt: skip
        return ref, container, task

    async def _depart(
        self, departure: Departure, ref: BundleRef, container: Container, task: Task
    ) -> Migration:
        locks = self._parts.lifecycle.locks
        namespace, name = ref.namespace, ref.id
        try:
            async with held_lease(self._parts.db, namespace, "migration") as departure.lease:
                assert task.init is not None, "it runs"
                if via := departure.request.via:
                    departure.way = await by_registry(departure, via, self._leftovers)
                await departure.preflight(container, ref, task.init.pid)
                await departure.seed(container)
                rounds = Rounds(departure, ref, task, partial(self._held, namespace, name))
                await rounds.run()
                async with locks.hold(namespace, name):
                    ref, container, task = await self._ready(namespace, name)
                    await rounds.check(task)
                    self._bar(departure.migration)
                    await departure.freeze(ref)
                    start = await departure.final(ref, container)
                    with trio.CancelScope(shield=True):
                        await self._hand_over(departure, start)
        except BaseException as error:
            with trio.CancelScope(shield=True):
                await self._give_up(departure, error)
                await self._leftovers.remove(departure.migration.id)
            raise
        return await self._leftovers.remove(departure.migration.id)

    @asynccontextmanager
    async def _held(self, namespace: str, name: str) -> AsyncIterator[Task]:
        """Have nobody else do anything with the container within; it must run."""
        async with self._parts.lifecycle.locks.hold(namespace, name):
            yield (await self._ready(namespace, name))[2]

    async def _hand_over(self, departure: Departure, start: Start) -> None:
        """Have the target start it, and act on what becomes of that."""
        found: State | None = None
        try:
            found = await departure.start(start)
        except TricornError as error:
            if departure.migration.state not in ASKED:
                raise
            log.warning("a target doesn't answer", id=departure.migration.id, error=error.one_line())
            departure.migration, found = await self._find_out(departure, str(error))
        if found == "acked":
            departure.link.close()
            departure.migration = await self._finish(departure.migration, departure)
            return
        if found is None:
            await departure.advance("uncertain", reason="the target doesn't answer")
            raise uncertain(departure.migration)
        departure.proved = True
        raise FailedPrecondition(
            f"container {departure.migration.container} was not started on {departure.migration.node}",
            why=departure.migration.reason, hint="it goes on here",
        )  # fmt: skip

    async def _find_out(self, departure: Departure, why: str) -> tuple[Migration, State | None]:
        """Ask until the target tells whether it started, for a while."""
        with trio.move_on_after(self._settings.patience):
            while True:
                try:
                    answer = await refusal(departure.link, departure.migration.id, why)
                    if (found := verdict(answer.state)) is not None:
                        reason = answer.reason if found == "failed" else ""
                        return evolve(departure.migration, reason=reason), found
                except TricornError as error:
                    log.info("asked a target in vain", id=departure.migration.id, error=error.one_line())
                departure.link.close()
                await trio.sleep(limits.MIGRATION_ASK)
        return departure.migration, None

    async def _give_up(self, departure: Departure, error: BaseException) -> None:
        """After a failure that the target has no part in, or that it has proved to have: go on here."""
        migration = departure.migration
        state = (await self._parts.db.read(lambda tx: tx.migrations.get("out", migration.id))).state
        if state in ("uncertain", "acked", "done"):
            return  # what is left is done behind, by `run`
        if state == "restore" and not departure.proved:
            log.error("a migration is settled behind", id=migration.id, error=repr(error)[:300])
            return
        reason = migration.reason or (str(error) if isinstance(error, TricornError) else "it was cancelled")
        await self._go_on(evolve(migration, state=state), reason)
        if state != "restore":
            self._forsaken[migration.id] = migration
            with trio.move_on_after(LAST_WORD):
                await self._tell(departure.link, migration, reason)


async def by_registry(departure: Departure, via: str, leftovers: Leftovers) -> ByRegistry:
    """Return the way by a repository. Raises what a push does that can't be made there."""
    repository, plain = Reference.parse(via, "via"), departure.request.plain_http
    to = await departure.parts.registry.push(repository, plain_http=plain)

    async def note(manifest: str, blobs: tuple[str, ...]) -> None:
        await leftovers.note(departure.migration, Left(repository.name, manifest, blobs, plain))

    return ByRegistry(departure.link, f"{PATH}/{departure.migration.id}", to, note)


def uncertain(migration: Migration) -> Unavailable:
    """Return the error of a migration of which nobody can tell what became."""
    return Unavailable(
        f"nobody can tell whether container {migration.container} runs on {migration.node}",
        why="it doesn't answer since it was told to start it; the copy here stands still",
        hint=way_out(migration), migration=migration.id,
    )  # fmt: skip


def way_out(migration: Migration) -> str:
    return (
        f"this is settled by itself once {migration.node} is back; if it is lost for good,"
        f" `tricorn -n {migration.namespace} migrations resolve {migration.id} --keep source`"
    )
