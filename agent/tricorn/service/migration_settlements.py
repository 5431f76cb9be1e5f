"""The source's side of migrations, settled whatever fails, at once or behind."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import structlog
import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition, TricornError
from tricorn.model.migrations import PATH, Migration, State
from tricorn.registry.peer_link import PeerFiles, PeerLink
from tricorn.rules.migration import ASKED, Recovery, after_crash, verdict
from tricorn.service.migration_departure import Departure, delete_source, let_go_on, refusal
from tricorn.service.migration_leftovers import Leftovers
from tricorn.service.migration_parts import MigrationParts, MigrationSettings
from tricorn.service.migration_rounds import leave
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
LAST_WORD: Final = 3.0  # seconds to tell a target that nothing more comes


class Settlements:
    """Ends of migrations on this side: its container is deleted, goes on, or waits for the target's word."""

    def __init__(self, parts: MigrationParts, settings: MigrationSettings) -> None:
        self._parts = parts
        self._settings = settings
        self._active: set[str] = set()
        self._unsettled = trio.Event()
        self._leftovers = Leftovers(parts.db, parts.registry)
        self._forsaken: dict[str, Migration] = {}  # targets that haven't heard that nothing more comes

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
            with trio.move_on_after(LAST_WORD), suppress(TricornError):
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

    def _link(self, migration: Migration) -> PeerLink:
        known = self._settings
        if not (known.certificate and known.key and known.authority):
            raise FailedPrecondition(
                "this node has nothing to prove itself with to others",
                hint="set peers.certificate, peers.key and peers.client_ca in the configuration",
            )
        return PeerLink(migration.address, PeerFiles(known.certificate, known.key, known.authority))

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
            trio.move_on_after(LAST_WORD),
            suppress(TricornError),
        ):  # it runs there, whether it hears this or not
            async with self._link(migration) as link:
                await link.ask("POST", f"{PATH}/{migration.id}/done")
        log.info("container migrated", id=migration.id, container=migration.container, node=migration.node)
        return migration

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
