"""Migrations: containers on their way from this node to others, and from others to this one.

The two sides, `migration_departures` and `migration_arrivals`, are imported when the first container moves.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import trio
from attrs import fields_dict

from tricorn.errors import NotFound
from tricorn.model.migrations import MigrateRequest, Migration, MigrationView, ResolveRequest
from tricorn.service.progress import Reporter
from tricorn.store.db import Database

if TYPE_CHECKING:
    from tricorn.service.migration_arrivals import Arrivals
    from tricorn.service.migration_departures import Departures
    from tricorn.service.migration_parts import MigrationParts, MigrationSettings

_AGAIN = 5.0  # seconds between two looks at what an ended agent left half started


class MigrationService:
    """`make` gives both sides their parts; `place` is where dumps lie on their way. `held` tells the
    containers that nothing gets through to.
    """

    def __init__(
        self,
        db: Database,
        place: str,
        make: Callable[[], tuple[MigrationParts, MigrationSettings]],
        held: Callable[[], set[tuple[str, str]]],
    ) -> None:
        self._held = held
        self._db = db
        self._place = place
        self._make = make
        self._departures: Departures | None = None
        self._arrivals: Arrivals | None = None
        self._needed = trio.Event()

    @property
    def departures(self) -> Departures:
        """The source's side."""
        if self._departures is None:
            from tricorn.service.migration_departures import Departures

            self._departures = Departures(*self._make())
            self._needed.set()
        return self._departures

    @property
    def arrivals(self) -> Arrivals:
        """The target's side."""
        if self._arrivals is None:
            from tricorn.service.migration_arrivals import Arrivals

            parts, settings = self._make()
            self._arrivals = Arrivals(parts, settings.rules)
        return self._arrivals

    async def migrate(
        self, namespace: str, container_id: str, request: MigrateRequest, report: Reporter
    ) -> MigrationView:
        """Move a running container to another node; see `Departures.migrate`."""
        return view_of(await self.departures.migrate(namespace, container_id, request, report))

    async def list(self, namespace: str) -> list[MigrationView]:
        """Return the namespace's migrations of both directions, the latest last."""
        return [view_of(item) for item in await self._db.read(lambda tx: tx.migrations.list(namespace))]

    async def get(self, namespace: str, id: str) -> MigrationView:
        """Return one migration; NotFound."""
        found = [item for item in await self.list(namespace) if item.id == id]
        if not found:
            raise NotFound(f"migration {id!r} is unknown", hint="`tricorn migrations ls` lists them")
        return next((item for item in found if item.role == "out"), found[0])

    async def resolve(self, namespace: str, id: str, request: ResolveRequest) -> MigrationView:
        """Settle an uncertain migration by hand; FailedPrecondition for another one."""
        await self.get(namespace, id)
        return view_of(await self.departures.resolve(namespace, id, request.keep))

    # ------------------------------------------------------------ the agent itself
    async def recover(self) -> None:
        """Before the doors open: settle what an agent that ended left, as far as that goes at once."""
        unsettled = await self._db.read(lambda tx: tx.migrations.list_open())
        roles = {item.role for item in unsettled}
        if "out" in roles:
            await self.departures.recover()
        elif await self._db.read(lambda tx: tx.migrations.list_left()):
            _ = self.departures  # which has `run` delete it
        if "in" in roles:
            await self.arrivals.recover()
        if await trio.to_thread.run_sync(self._held):
            moving = {(item.namespace, item.container) for item in unsettled if item.role == "out"}
            await self._make()[0].networks.recover(moving)
        # no dump outlives the agent that made it or took it in: no migration goes on from one
        remove = partial(shutil.rmtree, self._place, ignore_errors=True)
        await trio.to_thread.run_sync(remove)

    async def run(self) -> None:
        """Pursue what stays unsettled, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._look_again)
            await self._needed.wait()
            await self.departures.run()

    async def _look_again(self) -> None:
        while self._arrivals and not await self._arrivals.recover():  # noqa: ASYNC110 - no event tells
            await trio.sleep(_AGAIN)


def view_of(migration: Migration) -> MigrationView:
    """Return a migration as clients see it."""
    hint = ""
    if migration.state == "uncertain":
        from tricorn.service.migration_departures import way_out

        hint = way_out(migration)
    shown = {name: getattr(migration, name) for name in fields_dict(MigrationView) if name != "hint"}
    return MigrationView(**shown, hint=hint)
