"""Migrations from and to this node. A state is on disk before anything is done that depends on it."""

from __future__ import annotations

from typing import Final

import msgspec
from attrs import evolve

from tricorn import limits
from tricorn.errors import AlreadyExists, NotFound
from tricorn.model.migrations import Migration, Role, State
from tricorn.rules.migration import check_step
from tricorn.store.codec import to_json, to_time
from tricorn.store.session import Session

_decoder: Final = msgspec.json.Decoder(Migration)
_OVER: Final = "('done', 'failed', 'refused')"


class Migrations:
    """Like intents, they outlive what they speak of. Both roles of one migration may be on one node."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(self, migration: Migration) -> Migration:
        """Record a new one; AlreadyExists. The oldest of those that are over are forgotten, but none that
        runs here: its source may still have to hear of it.
        """
        if self.find(migration.role, migration.id):
            raise AlreadyExists(f"migration {migration.id} is known already")
        made = self._stamped(evolve(migration, created_at=to_time(self._session.now)))
        self._session.run(
            "INSERT INTO migrations VALUES (?, ?, ?, ?, ?, ?)", made.role, made.id, made.namespace,
            made.state, to_json(made), self._session.now,
        )  # fmt: skip
        self._session.run(
            f"DELETE FROM migrations WHERE state IN {_OVER} AND (role, id) NOT IN (SELECT role, id"  # noqa: S608 - constants
            f" FROM migrations WHERE state IN {_OVER} ORDER BY created_at DESC LIMIT ?)",
            limits.MIGRATIONS_KEPT,
        )
        return made

    def advance(self, role: Role, id: str, state: State, **changes: object) -> Migration:
        """Put a migration into its next state. NotFound; FailedPrecondition for a step that isn't allowed."""
        old = self.get(role, id)
        check_step(role, old.state, state)
        return self._put(evolve(old, state=state, **changes))  # type: ignore[arg-type]  # names of fields

    def note(self, role: Role, id: str, **changes: object) -> Migration:
        """Change what else is known of a migration. NotFound."""
        return self._put(evolve(self.get(role, id), **changes))  # type: ignore[arg-type]  # names of fields

    def find(self, role: Role, id: str) -> Migration | None:
        row = self._session.one("SELECT data FROM migrations WHERE role = ? AND id = ?", role, id)
        return _decoder.decode(row[0]) if row else None

    def get(self, role: Role, id: str) -> Migration:
        found = self.find(role, id)
        if found is None:
            raise NotFound(f"migration {id!r} is unknown", hint="`tricorn migrations ls` lists them")
        return found

    def list_open(self) -> list[Migration]:
        """Return those of all namespaces that aren't over: what a start has to look at."""
        rows = self._session.all(
            f"SELECT data FROM migrations WHERE state NOT IN {_OVER} AND state != 'running'"  # noqa: S608 - constants
            " ORDER BY created_at"
        )
        return [_decoder.decode(row[0]) for row in rows]

    def list_left(self) -> list[Migration]:
        """Return those that are over and left something in a registry that is to be deleted there."""
        rows = self._session.all(
            f"SELECT data FROM migrations WHERE state IN {_OVER} AND role = 'out' ORDER BY created_at"  # noqa: S608 - constants
        )
        return [found for row in rows if (found := _decoder.decode(row[0])).left is not None]

    def list(self, namespace: str) -> list[Migration]:
        """Return a namespace's, oldest first."""
        rows = self._session.all(
            "SELECT data FROM migrations WHERE namespace = ? ORDER BY created_at, id", namespace
        )
        return [_decoder.decode(row[0]) for row in rows]

    def _stamped(self, migration: Migration) -> Migration:
        return evolve(migration, updated_at=to_time(self._session.now))

    def _put(self, migration: Migration) -> Migration:
        made = self._stamped(migration)
        self._session.run(
            "UPDATE migrations SET state = ?, data = ? WHERE role = ? AND id = ?",
            made.state, to_json(made), made.role, made.id,
        )  # fmt: skip
        return made
