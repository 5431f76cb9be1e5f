"""Namespaces: they come into being by the first write and go when they are empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import evolve

from tricorn.errors import AlreadyExists, FailedPrecondition, NotFound
from tricorn.model import filters, ids
from tricorn.model.records import Namespace
from tricorn.rules.plan import merged_labels
from tricorn.store.codec import to_json, to_labels, to_time
from tricorn.store.journal import Events
from tricorn.store.session import Session

_KINDS: Final = (
    "images", "containers", "tasks", "sandboxes", "sandbox_instances", "snapshots", "content", "quarantined",
    "leases", "ingests",
)  # fmt: skip


class Namespaces:
    __slots__ = ("_events", "_session")

    def __init__(self, session: Session, events: Events) -> None:
        self._session = session
        self._events = events

    def create(self, name: str, labels: Mapping[str, str] | None = None) -> Namespace:
        """Record a namespace; AlreadyExists, InvalidArgument."""
        checked = ids.labels(labels or {})
        if self.find(ids.namespace(name)):
            raise AlreadyExists(f"namespace {name} exists already")
        self._session.run(
            "INSERT INTO namespaces VALUES (?, ?, ?)", name, to_json(checked), self._session.now
        )
        self._session.namespaces.add(name)
        self._events.publish(name, "/namespaces/create", {"name": name, "labels": checked})
        return Namespace(name, checked, to_time(self._session.now))

    def ensure(self, name: str) -> None:
        """Create the namespace if it is missing. Every write does this by itself."""
        if name in self._session.namespaces:
            return
        if self._session.one("SELECT 1 FROM namespaces WHERE name = ?", name):
            self._session.namespaces.add(name)
        else:
            self.create(name)

    def find(self, name: str) -> Namespace | None:
        row = self._session.one("SELECT labels, created_at FROM namespaces WHERE name = ?", name)
        return Namespace(name, to_labels(row[0]), to_time(row[1])) if row else None

    def get(self, name: str) -> Namespace:
        found = self.find(name)
        if found is None:
            raise NotFound(f"namespace {name} does not exist")
        return found

    def update(self, name: str, labels: Mapping[str, str]) -> Namespace:
        """Merge `labels` in; an empty value deletes. NotFound."""
        old = self.get(name)
        merged = ids.labels(merged_labels(old.labels, labels))
        self._session.run("UPDATE namespaces SET labels = ? WHERE name = ?", to_json(merged), name)
        self._events.publish(name, "/namespaces/update", {"name": name, "labels": merged})
        return evolve(old, labels=merged)

    def delete(self, name: str) -> None:
        """Remove an empty namespace. NotFound; FailedPrecondition naming the kinds that are left."""
        self.get(name)
        left = self.occupants(name)
        if left:
            kinds = ", ".join(f"{kind} ({count})" for kind, count in left.items())
            raise FailedPrecondition(
                f"namespace {name} is not empty",
                why=f"it still has {kinds}",
                hint="remove them first; content and snapshots go by garbage collection",
                left=left,
            )
        self._session.run("DELETE FROM namespaces WHERE name = ?", name)
        self._session.namespaces.discard(name)
        self._events.publish(name, "/namespaces/delete", {"name": name})

    def occupants(self, name: str) -> dict[str, int]:
        """Return how many records of each kind the namespace has, kinds without any left out."""
        counts = {}
        for kind in _KINDS:
            row = self._session.one(f"SELECT count(*) FROM {kind} WHERE namespace = ?", name)  # noqa: S608 - a constant
            if row and row[0]:
                counts[kind] = int(row[0])
        return counts

    def list(self, expressions: Sequence[str] = ()) -> list[Namespace]:
        """Return all namespaces that match any of the filters, by name."""
        rows = self._session.all("SELECT name, labels, created_at FROM namespaces ORDER BY name")
        return filters.select(expressions, [Namespace(r[0], to_labels(r[1]), to_time(r[2])) for r in rows])
