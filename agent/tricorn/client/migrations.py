"""Migrations: the client's methods."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Literal

from tricorn.client.migration_calls import (
    get_migration,
    list_migrations,
    migrate_container,
    resolve_migration,
)
from tricorn.client.nouns import Noun
from tricorn.client.stream import Work, open_work
from tricorn.client.values import plain, value, values
from tricorn.model.migrations import MigrateRequest, MigrationView
from tricorn.model.requests import OperationView


class Migrations(Noun):
    """Containers that move from or to this node."""

    async def migrate(self, container: str, wanted: MigrateRequest) -> MigrationView:
        """Move a running container to another node. Unavailable when nobody can tell what became of it: the
        copy here stands still then, and `get` shows the way out.
        """
        return value(
            await self._pool.call(migrate_container(self._ns, container, plain(wanted))), MigrationView
        )

    def migrate_work(
        self, container: str, wanted: MigrateRequest
    ) -> AbstractAsyncContextManager[Work[MigrationView]]:
        """Like `migrate`, with the progress to iterate over."""
        call = migrate_container(self._ns, container, plain(wanted), stream=True)
        return open_work(self._pool, call, lambda raw: value(raw, MigrationView))

    async def begin(self, container: str, wanted: MigrateRequest) -> OperationView:
        """Begin a migration that outlives this client."""
        call = migrate_container(self._ns, container, plain(wanted), detach=True)
        return value(await self._pool.call(call), OperationView)

    async def list(self) -> list[MigrationView]:
        """Return those of both directions, the latest last."""
        return values(await self._pool.call(list_migrations(self._ns)), MigrationView)

    async def get(self, id: str) -> MigrationView:
        """Return one migration; NotFound."""
        return value(await self._pool.call(get_migration(self._ns, id)), MigrationView)

    async def resolve(self, id: str, keep: Literal["source", "target"]) -> MigrationView:
        """Settle an uncertain migration: which copy goes on. FailedPrecondition for another one."""
        return value(await self._pool.call(resolve_migration(self._ns, id, keep)), MigrationView)
