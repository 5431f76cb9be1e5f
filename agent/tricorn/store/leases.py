"""Leases: hold what they list until they are deleted or expire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tricorn.errors import AlreadyExists, InvalidArgument, NotFound
from tricorn.model import filters, ids
from tricorn.model.records import Lease, LeaseResource
from tricorn.store.codec import to_json, to_labels, to_time
from tricorn.store.namespaces import Namespaces
from tricorn.store.session import Session

_SELECT: Final = "SELECT namespace, id, labels, created_at FROM leases "
_PLAIN: Final = frozenset({"content", "ingests", "images"})


class Leases:
    __slots__ = ("_namespaces", "_session")

    def __init__(self, session: Session, namespaces: Namespaces) -> None:
        self._session = session
        self._namespaces = namespaces

    def create(self, namespace: str, id: str, labels: Mapping[str, str] | None = None) -> Lease:
        """Record a lease; it expires by the label `containerd.io/gc.expire` (RFC 3339), if it has one."""
        if not id:
            raise InvalidArgument("a lease needs an id", field="id")
        checked = ids.labels(labels or {})
        if self.find(namespace, id):
            raise AlreadyExists(f"lease {id} exists already in namespace {namespace}")
        self._namespaces.ensure(namespace)
        self._session.run(
            "INSERT INTO leases VALUES (?, ?, ?, ?)", namespace, id, to_json(checked), self._session.now
        )
        return Lease(id, checked, to_time(self._session.now))

    def find(self, namespace: str, id: str) -> Lease | None:
        row = self._session.one(_SELECT + "WHERE namespace = ? AND id = ?", namespace, id)
        return _lease(row) if row else None

    def get(self, namespace: str, id: str) -> Lease:
        found = self.find(namespace, id)
        if found is None:
            raise NotFound(f"lease {id} does not exist in namespace {namespace}")
        return found

    def list_all(self) -> list[tuple[str, Lease]]:
        """Return the leases of all namespaces, each with its namespace."""
        rows = self._session.all(_SELECT + "ORDER BY namespace, id")
        return [(row[0], _lease(row)) for row in rows]

    def set_labels(self, namespace: str, id: str, labels: Mapping[str, str]) -> None:
        """Give the lease these labels instead of those it has; NotFound."""
        checked = ids.labels(labels)
        self.get(namespace, id)
        self._session.run(
            "UPDATE leases SET labels = ? WHERE namespace = ? AND id = ?", to_json(checked), namespace, id
        )

    def delete(self, namespace: str, id: str) -> None:
        """Remove the lease; what it held is left to the next collection. NotFound."""
        if not self._session.run("DELETE FROM leases WHERE namespace = ? AND id = ?", namespace, id):
            raise NotFound(f"lease {id} does not exist in namespace {namespace}")
        self._session.deletions += 1

    def add_resource(self, namespace: str, id: str, resource: LeaseResource) -> None:
        """Hold `resource` (it need not exist yet). NotFound for the lease, InvalidArgument for the type."""
        _check(resource)
        self.get(namespace, id)
        self._session.run(
            "INSERT OR IGNORE INTO lease_resources VALUES (?, ?, ?, ?)",
            namespace, id, resource.type, resource.id,
        )  # fmt: skip

    def remove_resource(self, namespace: str, id: str, resource: LeaseResource) -> None:
        """Stop holding `resource`. NotFound for the lease; a resource it doesn't hold is no error."""
        self.get(namespace, id)
        self._session.run(
            "DELETE FROM lease_resources WHERE namespace = ? AND lease = ? AND type = ? AND id = ?",
            namespace, id, resource.type, resource.id,
        )  # fmt: skip
        self._session.deletions += 1

    def list_resources(self, namespace: str, id: str) -> list[LeaseResource]:
        self.get(namespace, id)
        rows = self._session.all(
            "SELECT type, id FROM lease_resources WHERE namespace = ? AND lease = ? ORDER BY type, id",
            namespace, id,
        )  # fmt: skip
        return [LeaseResource(row[0], row[1]) for row in rows]

    def resources_of_all(self) -> list[tuple[str, str, LeaseResource]]:
        """Return (namespace, lease, resource) for every lease."""
        rows = self._session.all("SELECT namespace, lease, type, id FROM lease_resources")
        return [(row[0], row[1], LeaseResource(row[2], row[3])) for row in rows]

    def protect(self, namespace: str, id: str, type: str, object: str) -> None:
        """Add a resource to the lease that a create or commit runs under; nothing when `id` is ""."""
        if id:
            self.add_resource(namespace, id, LeaseResource(type, object))

    def release(self, namespace: str, id: str, type: str, object: str) -> None:
        """Drop an object from the lease that its removal runs under; nothing when there is no such lease."""
        self._session.run(
            "DELETE FROM lease_resources WHERE namespace = ? AND lease = ? AND type = ? AND id = ?",
            namespace, id, type, object,
        )  # fmt: skip

    def forget(self, namespace: str, type: str, object: str) -> None:
        """Drop an object that is no more from all leases of the namespace."""
        self._session.run(
            "DELETE FROM lease_resources WHERE namespace = ? AND type = ? AND id = ?", namespace, type, object
        )

    def list(self, namespace: str, expressions: Sequence[str] = ()) -> list[Lease]:
        """Return the leases that match any of the filters, by id."""
        rows = self._session.all(_SELECT + "WHERE namespace = ? ORDER BY id", namespace)
        return filters.select(expressions, map(_lease, rows))


def _check(resource: LeaseResource) -> None:
    kind, slash, snapshotter = resource.type.partition("/")
    if not (resource.type in _PLAIN or (kind == "snapshots" and slash and snapshotter)):
        raise InvalidArgument(
            f"lease resource type {resource.type!r} is unknown",
            hint="use content, ingests, images or snapshots/SNAPSHOTTER",
            field="type",
        )
    if not resource.id:
        raise InvalidArgument("a lease resource needs an id", field="id")


def _lease(row: tuple[Any, ...]) -> Lease:
    return Lease(row[1], to_labels(row[2]), to_time(row[3]))
