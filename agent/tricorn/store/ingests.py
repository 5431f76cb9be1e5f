"""Ingests: transfers under way. Offsets are the files'; here is what a restart and the collector need."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from attrs import frozen

from tricorn import limits
from tricorn.errors import InvalidArgument, NotFound
from tricorn.model.ids import Digest
from tricorn.store.budgets import Budgets
from tricorn.store.codec import to_time
from tricorn.store.leases import Leases
from tricorn.store.namespaces import Namespaces
from tricorn.store.session import Session

_SELECT: Final = "SELECT namespace, ref, total, expected, started_at, updated_at, expires_at FROM ingests "


@frozen
class IngestRecord:
    """`expires_at` is None while a lease holds the ingest."""

    ref: str
    total: int
    expected: Digest | None
    started_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None


class Ingests:
    __slots__ = ("_budgets", "_leases", "_namespaces", "_session")

    def __init__(self, session: Session, namespaces: Namespaces, leases: Leases, budgets: Budgets) -> None:
        self._session = session
        self._namespaces = namespaces
        self._leases = leases
        self._budgets = budgets

    def open(
        self, namespace: str, ref: str, total: int, expected: Digest | None, *, lease: str = ""
    ) -> IngestRecord:
        """Record the ingest or take up the one that is there. Without a lease it lives 24 hours."""
        if not ref:
            raise InvalidArgument("an ingest needs a ref", field="ref")
        self._budgets.admit_bytes(namespace, max(total, 1), ref=ref)
        self._namespaces.ensure(namespace)
        now = self._session.now
        expires = None if lease else now + limits.INGEST_DEFAULT_SECONDS * 1_000_000
        self._session.run(
            "INSERT INTO ingests VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (namespace, ref) DO UPDATE SET "
            "total = max(total, excluded.total), updated_at = excluded.updated_at, "
            "expected = CASE excluded.expected WHEN '' THEN expected ELSE excluded.expected END, "
            "expires_at = excluded.expires_at",
            namespace, ref, total, expected or "", now, now, expires,
        )  # fmt: skip
        self._leases.protect(namespace, lease, "ingests", ref)
        return self.get(namespace, ref)

    def find(self, namespace: str, ref: str) -> IngestRecord | None:
        row = self._session.one(_SELECT + "WHERE namespace = ? AND ref = ?", namespace, ref)
        return _record(row) if row else None

    def get(self, namespace: str, ref: str) -> IngestRecord:
        found = self.find(namespace, ref)
        if found is None:
            raise NotFound(f"ingest {ref} does not exist in namespace {namespace}")
        return found

    def list_all(self) -> list[tuple[str, IngestRecord]]:
        """Return the ingests of all namespaces, each with its namespace."""
        rows = self._session.all(_SELECT + "ORDER BY namespace, ref")
        return [(row[0], _record(row)) for row in rows]

    def delete(self, namespace: str, ref: str) -> None:
        """Remove the record, also from its leases; the bytes are the caller's. NotFound."""
        if not self._session.run("DELETE FROM ingests WHERE namespace = ? AND ref = ?", namespace, ref):
            raise NotFound(f"ingest {ref} does not exist in namespace {namespace}")
        self._leases.forget(namespace, "ingests", ref)
        self._session.deletions += 1

    def complete(self, namespace: str, ref: str) -> None:
        """Remove the record of a transfer that became a blob, if there is one: nothing got free by that."""
        self._session.run("DELETE FROM ingests WHERE namespace = ? AND ref = ?", namespace, ref)
        self._leases.forget(namespace, "ingests", ref)

    def list(self, namespace: str) -> list[IngestRecord]:
        rows = self._session.all(_SELECT + "WHERE namespace = ? ORDER BY ref", namespace)
        return [_record(row) for row in rows]


def _record(row: tuple[Any, ...]) -> IngestRecord:
    return IngestRecord(
        ref=row[1], total=row[2], expected=Digest(row[3]) if row[3] else None,
        started_at=to_time(row[4]), updated_at=to_time(row[5]),
        expires_at=None if row[6] is None else to_time(row[6]),
    )  # fmt: skip
