"""What a migration by a registry leaves there: deleted at its end, whatever that is, or at the agent's next
start; where the registry keeps it, the migration's report says so.

What is to be deleted is on record before any of it is sent. Image and files that went before the freeze stay,
as those of any push do: others may be about to pull the same blobs.
"""

from __future__ import annotations

from typing import Final

import structlog
import trio
from attrs import evolve

from tricorn.errors import TricornError, Unavailable
from tricorn.model.ids import Digest
from tricorn.model.migrations import Left, Migration
from tricorn.model.reference import Reference
from tricorn.ports import Push, Registry
from tricorn.rules.migration import is_over
from tricorn.store.db import Database

log = structlog.get_logger(__name__)
_PATIENCE: Final = 10.0  # seconds with a registry, while somebody waits for the migration's end
_SILENT: Final = "the registry doesn't answer; the agent tries again at its next start"


class Leftovers:
    def __init__(self, db: Database, registry: Registry) -> None:
        self._db = db
        self._registry = registry

    async def note(self, migration: Migration, left: Left) -> None:
        """Put what is going to be left on record."""
        await self._db.write(lambda tx: tx.migrations.note("out", migration.id, left=left), durable=False)

    async def remove(self, id: str) -> Migration:
        """Delete what a migration that is over left, and return its record, which says what stays and why.

        Raises nothing of the registry's. One that isn't over keeps what it has there.
        """
        migration = await self._db.read(lambda tx: tx.migrations.get("out", id))
        left = migration.left
        if left is None or not is_over("out", migration.state):
            return migration
        again, why = True, _SILENT
        with trio.move_on_after(_PATIENCE):
            again, why = await self._try(left)
        if why:
            log.warning("a migration's dump stays in a registry", id=id, image=_name(left), why=why)
        report = evolve(migration.report, image=_name(left) if why else "", image_stays=why)
        return await self._db.write(
            lambda tx: tx.migrations.note("out", id, left=left if again else None, report=report)
        )

    async def remove_all(self) -> None:
        """Delete what earlier agents left."""
        for migration in await self._db.read(lambda tx: tx.migrations.list_left()):
            await self.remove(migration.id)

    async def _try(self, left: Left) -> tuple[bool, str]:
        """Return whether to try again later, and why it stays, "" if it doesn't."""
        try:
            repository = Reference.parse(left.repository, "via")
            to = await self._registry.push(repository, plain_http=left.plain_http)
            await _remove(to, left)
        except TricornError as error:
            return isinstance(error, Unavailable), error.one_line()[:500]
        return False, ""


async def _remove(to: Push, left: Left) -> None:
    """Delete the manifest, then what only it names."""
    await to.remove(Digest.parse(left.manifest), manifest=True)
    for blob in left.blobs:
        await to.remove(Digest.parse(blob))


def _name(left: Left) -> str:
    return f"{left.repository}@{left.manifest}"
