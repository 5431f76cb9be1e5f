"""The source's side of migrations: carried out, and settled whatever fails."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
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
from tricorn.registry.peer_link import PeerFiles, PeerLink
from tricorn.rules.migration import ASKED, Recovery, after_crash, verdict
from tricorn.rules.migration_image import repository_of
from tricorn.rules.migration_rounds import check_request
from tricorn.runtime.fifo_users import attached
from tricorn.service.held_lease import held_lease
from tricorn.service.migration_departure import Departure, delete_source, let_go_on, refusal
from tricorn.service.migration_leftovers import Leftovers
from tricorn.service.migration_parts import MigrationParts, MigrationSettings
from tricorn.service.migration_rounds import Rounds, leave
from tricorn.service.migration_ways import ByRegistry, Straight
from tricorn.service.progress import Reporter
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})")
_LAST_WORD: Final = 3.0  # seconds to tell a target that nothing more comes


class Departures:
    def __init__(self, parts: MigrationParts, settings: MigrationSettings) -> None:
        self._parts = parts
        self._settings = settings
        self._active: set[str] = set()
        self._moving: set[tuple[str, str]] = set()  # a round of one would spoil those of another
        self._unsettled = trio.Event()
        self._leftovers = Leftovers(parts.db, parts.registry)
        self._forsaken: dict[str, Migration] = {}  # targets that haven't heard that nothing more comes

    # ------------------------------------------------------------ one migration
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

    def _link(self, migration: Migration) -> PeerLink:
        known = self._settings
        if not (known.certificate and known.key and known.authority):
            raise FailedPrecondition(
                "this node has nothing to prove itself with to others",
                hint="set peers.certificate, peers.key and peers.client_ca in the configuration",
            )
        return PeerLink(migration.address, PeerFiles(known.certificate, known.key, known.authority))

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

    async def _finish(self, migration: Migration, departure: Departure | None = None) -> Migration:
        """The target runs it: delete it here. The caller holds its lock."""
        db = self._parts.db
        if migration.state != "acked":
            changes = {"report": departure.costs} if departure else {}
            migration = await db.write(
                lambda tx: tx.migrations.advance("out", migration.id, "acked", reason="", **changes)
            )
        await delete_source(self._parts, migration)
        self._parts.lifecycle.locks.unbar(migration.namespace, migration.container)
        migration = await db.write(lambda tx: tx.migrations.advance("out", migration.id, "done"))
        with (
            trio.move_on_after(_LAST_WORD),
            suppress(TricornError),
        ):  # it runs there, whether it hears this or not
            async with self._link(migration) as link:
                await link.ask("POST", f"{PATH}/{migration.id}/done")
        log.info("container migrated", id=migration.id, container=migration.container, node=migration.node)
        return migration

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
            with trio.move_on_after(_LAST_WORD):
                await self._tell(departure.link, migration, reason)

    async def _go_on(self, migration: Migration, reason: str) -> None:
        """Let the source's copy go on, then say so on record: after a crash in between it is done again."""
        if migration.state == "precopy":
            await leave(self._parts, migration)
        elif migration.state not in ("preflight", "seed"):
            await let_go_on(self._parts, migration)
        self._parts.lifecycle.locks.unbar(migration.namespace, migration.container)
        await self._parts.db.write(
            lambda tx: tx.migrations.advance("out", migration.id, "failed", reason=reason[:500])
        )

    async def _tell(self, link: PeerLink, migration: Migration, why: str) -> None:
        try:
            answer = await refusal(link, migration.id, why[:300])
            if verdict(answer.state) == "acked":
                log.error("a container may run twice", id=migration.id, node=migration.node)
        except TricornError as error:
            log.info("a target wasn't told that nothing comes", id=migration.id, error=error.one_line())
        else:
            self._forsaken.pop(migration.id, None)

    def _bar(self, migration: Migration) -> None:
        self._parts.lifecycle.locks.bar(
            migration.namespace, migration.container,
            why=FailedPrecondition(
                f"container {migration.container} is being migrated to {migration.node}",
                hint=f"`tricorn -n {migration.namespace} migrations inspect {migration.id}` tells more",
            ),
        )  # fmt: skip

    # ------------------------------------------------------------ by hand
    async def resolve(self, namespace: str, id: str, keep: str) -> Migration:
        """Settle an uncertain migration by decision of somebody who knows what the target can't tell."""
        migration = await self._parts.db.read(lambda tx: tx.migrations.get("out", id))
        if migration.namespace != namespace or migration.state != "uncertain" or id in self._active:
            raise FailedPrecondition(f"migration {id} is not uncertain", why=f"it is {migration.state}")
        async with self._parts.lifecycle.locks.hold(namespace, migration.container, barred=True):
            migration = await self._parts.db.read(lambda tx: tx.migrations.get("out", id))
            if migration.state != "uncertain":
                raise FailedPrecondition(f"migration {id} is not uncertain any more")
            if keep == "target":
                await self._finish(migration)
            else:
                await self._go_on(migration, "decided by hand: the source goes on")
                self._forsaken[id] = migration
                self._unsettled.set()
        return await self._leftovers.remove(id)

    # ------------------------------------------------------------ after a crash, and behind
    async def recover(self) -> None:
        """Do what has to be done at once about what an agent left that ended; the rest goes on in `run`."""
        for migration in await self._parts.db.read(lambda tx: tx.migrations.list_open()):
            if migration.role != "out":
                continue
            todo = after_crash(migration.state)
            if todo in (Recovery.GIVE_UP, Recovery.RESUME):
                await self._go_on(migration, "the source's agent was started anew")
                self._forsaken[migration.id] = migration
            elif todo is Recovery.ASK:
                self._bar(migration)
                await self._parts.clear(f"out-{migration.id}")
            elif todo is Recovery.DELETE:
                self._bar(migration)
        self._unsettled.set()

    async def run(self) -> None:
        """Settle what is unsettled, for ever."""
        await self._leftovers.remove_all()
        pause = limits.MIGRATION_ASK
        while True:
            await self._unsettled.wait()
            self._unsettled = trio.Event()
            while await self._pursue():
                with trio.move_on_after(pause):
                    await self._unsettled.wait()
                pause = min(pause * 1.5, limits.MIGRATION_ASK_MAX)
            pause = limits.MIGRATION_ASK

    async def _pursue(self) -> bool:
        """Ask every target that is silent; return whether any still is."""

        def unsettled(tx: Transaction) -> list[Migration]:
            return [
                item for item in tx.migrations.list_open()
                if item.role == "out" and item.id not in self._active and item.state in (*ASKED, "acked")
            ]  # fmt: skip

        left = False
        for migration in await self._parts.db.read(unsettled):
            try:
                left |= not await self._settle(migration)
            except TricornError as error:
                left = True
                log.warning("a migration stays unsettled", id=migration.id, error=error.one_line())
            except Exception:
                left = True
                log.exception("a migration stays unsettled", id=migration.id)
        for migration in list(self._forsaken.values()):
            with trio.move_on_after(_LAST_WORD), suppress(TricornError):
                async with self._link(migration) as link:
                    await self._tell(link, migration, "the source goes on")
            silent = self._parts.db.clock.now() - (migration.updated_at or self._parts.db.clock.now())
            if silent.total_seconds() > 2 * limits.MIGRATION_IDLE:  # it has given up by itself
                self._forsaken.pop(migration.id, None)
        return left or bool(self._forsaken)

    async def _settle(self, migration: Migration) -> bool:
        """Ask once; return whether that settled it."""
        locks = self._parts.lifecycle.locks
        found: State | None = "acked"
        reason = ""
        if migration.state != "acked":
            try:
                async with self._link(migration) as link:
                    answer = await refusal(link, migration.id, "the source asks after a failure")
                found, reason = verdict(answer.state), answer.reason
            except TricornError as error:
                reason = error.one_line()
                found = None
        if found is None:
            if migration.state == "restore":
                await self._parts.db.write(
                    lambda tx: tx.migrations.advance("out", migration.id, "uncertain", reason=reason[:500])
                )
            return False
        async with locks.hold(migration.namespace, migration.container, barred=True):
            now = await self._parts.db.read(lambda tx: tx.migrations.get("out", migration.id))
            if now.state not in (*ASKED, "acked"):
                return True  # settled by hand meanwhile
            if found == "acked":
                with trio.CancelScope(shield=True):
                    await self._finish(now)
            else:
                await self._go_on(now, reason or "the target has not started it")
        await self._leftovers.remove(migration.id)
        return True


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
