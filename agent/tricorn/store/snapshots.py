"""Snapshots: keys, kinds and parents. The directories behind them are the snapshotter's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import asdict, evolve

from tricorn.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from tricorn.model import filters, ids
from tricorn.model.records import Snapshot, SnapshotKind, Usage
from tricorn.rules.plan import merged_labels
from tricorn.store.budgets import Budgets
from tricorn.store.codec import to_json, to_labels, to_time
from tricorn.store.journal import Events
from tricorn.store.leases import Leases
from tricorn.store.namespaces import Namespaces
from tricorn.store.session import Session

_SELECT: Final = (
    "SELECT namespace, snapshotter, key, kind, backend_id, parent, labels, size, inodes, "
    "created_at, updated_at FROM snapshots "
)
_WHERE = "WHERE namespace = ? AND snapshotter = ? AND key = ?"
_NAMED = 20  # children named in an error


class Snapshots:
    __slots__ = ("_budgets", "_events", "_leases", "_namespaces", "_session")

    def __init__(
        self, session: Session, events: Events, namespaces: Namespaces, leases: Leases, budgets: Budgets
    ) -> None:
        self._session = session
        self._events = events
        self._namespaces = namespaces
        self._leases = leases
        self._budgets = budgets

    def create(self, namespace: str, snapshot: Snapshot, *, lease: str = "") -> Snapshot:
        """Record a snapshot of any kind (its times are set here) on top of `snapshot.parent` ("" = none).

        AlreadyExists for a key in use; NotFound for a missing parent; InvalidArgument for one that isn't
        committed; ResourceExhausted beyond the namespace's budget.
        """
        ids.identifier(snapshot.snapshotter, "snapshotter")
        self._check_free(namespace, snapshot.snapshotter, snapshot.key)
        self.check_parent(namespace, snapshot.snapshotter, snapshot.parent)
        labels = ids.labels(snapshot.labels)
        self._budgets.admit_bytes(namespace, snapshot.usage.size)
        self._namespaces.ensure(namespace)
        now = self._session.now
        self._session.run(
            "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            namespace, snapshot.snapshotter, snapshot.key, str(snapshot.kind), snapshot.backend_id,
            snapshot.parent, to_json(labels), snapshot.usage.size, snapshot.usage.inodes, now, now,
        )  # fmt: skip
        self._leases.protect(namespace, lease, f"snapshots/{snapshot.snapshotter}", snapshot.key)
        self._publish_created(namespace, snapshot)
        return evolve(snapshot, created_at=to_time(now), updated_at=to_time(now))

    def _publish_created(self, namespace: str, snapshot: Snapshot) -> None:
        if snapshot.kind is SnapshotKind.VIEW:
            return  # the reference doesn't tell of views either
        event = {"key": snapshot.key, "parent": snapshot.parent, "snapshotter": snapshot.snapshotter}
        self._events.publish(namespace, "/snapshot/prepare", event)
        if snapshot.kind is SnapshotKind.COMMITTED:
            self._publish_committed(namespace, snapshot.snapshotter, snapshot.key, snapshot.key)

    def _publish_committed(self, namespace: str, snapshotter: str, name: str, key: str) -> None:
        event = {"key": key, "name": name, "snapshotter": snapshotter}
        self._events.publish(namespace, "/snapshot/commit", event)

    def commit(
        self, namespace: str, snapshotter: str, name: str, key: str, usage: Usage, *,
        labels: Mapping[str, str] | None = None, parent: str = "", lease: str = "",
    ) -> Snapshot:  # fmt: skip
        """Turn the active `key` into the committed `name`; `key` is free afterwards and its labels go.

        `parent` may be given for one that has none: it is put on top of that committed snapshot.
        NotFound, AlreadyExists, FailedPrecondition if `key` isn't active, InvalidArgument for the parent.
        """
        old = self.get(namespace, snapshotter, key)
        if old.kind is not SnapshotKind.ACTIVE:
            raise FailedPrecondition(
                f"snapshot {key} is {old.kind}", why="only an active one can be committed"
            )
        self._check_free(namespace, snapshotter, name)
        self._budgets.admit_bytes(namespace, usage.size)
        new = evolve(
            old, key=name, kind=SnapshotKind.COMMITTED, usage=usage, labels=ids.labels(labels or {}),
            parent=self._rebased(namespace, old, parent),
            created_at=to_time(self._session.now), updated_at=to_time(self._session.now),
        )  # fmt: skip
        self._move(namespace, key, new)
        self._leases.forget(namespace, f"snapshots/{snapshotter}", key)
        self._leases.protect(namespace, lease, f"snapshots/{snapshotter}", name)
        self._publish_committed(namespace, snapshotter, name, key)
        return new

    def _rebased(self, namespace: str, old: Snapshot, parent: str) -> str:
        if not parent or parent == old.parent:
            return old.parent
        if old.parent:
            raise InvalidArgument(
                f"snapshot {old.key} has the parent {old.parent}",
                why="only one without a parent can be put on another", field="parent",
            )  # fmt: skip
        self.check_parent(namespace, old.snapshotter, parent)
        return parent

    def _move(self, namespace: str, key: str, new: Snapshot) -> None:
        self._session.run(
            "UPDATE snapshots SET key = ?, kind = ?, parent = ?, labels = ?, size = ?, inodes = ?, "
            "created_at = ?, updated_at = ? WHERE namespace = ? AND snapshotter = ? AND key = ?",
            new.key, str(new.kind), new.parent, to_json(new.labels), new.usage.size, new.usage.inodes,
            self._session.now, self._session.now, namespace, new.snapshotter, key,
        )  # fmt: skip

    def update_labels(
        self, namespace: str, snapshotter: str, key: str, labels: Mapping[str, str]
    ) -> Snapshot:
        """Merge `labels` in; an empty value deletes. NotFound."""
        old = self.get(namespace, snapshotter, key)
        merged = ids.labels(merged_labels(old.labels, labels))
        self._session.run(
            "UPDATE snapshots SET labels = ?, updated_at = ? "
            "WHERE namespace = ? AND snapshotter = ? AND key = ?",
            to_json(merged), self._session.now, namespace, snapshotter, key,
        )  # fmt: skip
        self._session.deletions += 1  # a label may have been a reference
        return evolve(old, labels=merged, updated_at=to_time(self._session.now))

    def remove(self, namespace: str, snapshotter: str, key: str) -> Snapshot:
        """Remove the record and return it: its directory (`backend_id`) is the caller's to remove once
        this is committed. NotFound; FailedPrecondition naming the children.
        """
        old = self.get(namespace, snapshotter, key)
        children = self.children(namespace, snapshotter, key)
        if children:
            named = ", ".join(children[:_NAMED]) + (" …" if len(children) > _NAMED else "")
            raise FailedPrecondition(
                f"snapshot {key} has {len(children)} children", why=named,
                hint="remove the children first", children=children[:_NAMED],
            )  # fmt: skip
        self._session.run(
            "DELETE FROM snapshots WHERE namespace = ? AND snapshotter = ? AND key = ?",
            namespace,
            snapshotter,
            key,
        )
        self._session.deletions += 1
        self._events.publish(namespace, "/snapshot/remove", {"key": key, "snapshotter": snapshotter})
        return old

    def find(self, namespace: str, snapshotter: str, key: str) -> Snapshot | None:
        row = self._session.one(_SELECT + _WHERE, namespace, snapshotter, key)
        return _snapshot(row) if row else None

    def get(self, namespace: str, snapshotter: str, key: str) -> Snapshot:
        found = self.find(namespace, snapshotter, key)
        if found is None:
            raise NotFound(f"snapshot {key} does not exist in {snapshotter} of namespace {namespace}")
        return found

    def children(self, namespace: str, snapshotter: str, key: str) -> list[str]:
        """Return the keys that have `key` as their parent."""
        rows = self._session.all(
            "SELECT key FROM snapshots WHERE namespace = ? AND snapshotter = ? AND parent = ? ORDER BY key",
            namespace, snapshotter, key,
        )  # fmt: skip
        return [row[0] for row in rows]

    def ancestors(self, namespace: str, snapshotter: str, key: str) -> list[Snapshot]:
        """Return the parents of `key`, nearest first, without itself. NotFound."""
        chain: list[Snapshot] = []
        parent = self.get(namespace, snapshotter, key).parent
        while parent:
            chain.append(self.get(namespace, snapshotter, parent))
            parent = chain[-1].parent
        return chain

    def parent_ids(self, namespace: str, snapshotter: str, parent: str) -> tuple[str, ...]:
        """Return the backend ids a snapshot on `parent` stands on, nearest first (() for "").

        This is what `Snapshotter.create` and `.mounts` take. NotFound.
        """
        if not parent:
            return ()
        chain = [self.get(namespace, snapshotter, parent), *self.ancestors(namespace, snapshotter, parent)]
        return tuple(snapshot.backend_id for snapshot in chain)

    def list_all(self) -> list[tuple[str, Snapshot]]:
        """Return the snapshots of all namespaces, each with its namespace."""
        rows = self._session.all(_SELECT + "ORDER BY namespace, snapshotter, key")
        return [(row[0], _snapshot(row)) for row in rows]

    def backend_ids(self, snapshotter: str) -> set[str]:
        """Return every directory that a record of any namespace stands for."""
        return {
            row[0]
            for row in self._session.all(
                "SELECT backend_id FROM snapshots WHERE snapshotter = ?", snapshotter
            )
        }

    def _check_free(self, namespace: str, snapshotter: str, key: str) -> None:
        if not key:
            raise InvalidArgument("a snapshot needs a key", field="key")
        if self.find(namespace, snapshotter, key):
            raise AlreadyExists(f"snapshot {key} exists already in {snapshotter} of namespace {namespace}")

    def check_parent(self, namespace: str, snapshotter: str, parent: str) -> None:
        """NotFound for a missing parent, InvalidArgument for one that isn't committed; "" is no parent."""
        if not parent:
            return
        found = self.find(namespace, snapshotter, parent)
        if found is None:
            raise NotFound(f"parent snapshot {parent} does not exist in {snapshotter}", field="parent")
        if found.kind is not SnapshotKind.COMMITTED:
            raise InvalidArgument(
                f"parent snapshot {parent} is {found.kind}", why="a parent must be committed", field="parent"
            )

    def list(self, namespace: str, snapshotter: str = "", expressions: Sequence[str] = ()) -> list[Snapshot]:
        """Return the snapshots of one snapshotter ("" = of all) that match any of the filters."""
        rows = self._session.all(
            _SELECT + "WHERE namespace = ? AND (? = '' OR snapshotter = ?) "
            "ORDER BY snapshotter, key",
            namespace, snapshotter, snapshotter,
        )  # fmt: skip
        wanted = filters.any_of(expressions)
        found = map(_snapshot, rows)
        return [snapshot for snapshot in found if wanted(_filterable(snapshot))] if expressions else [*found]


def _filterable(snapshot: Snapshot) -> dict[str, Any]:
    """Return the fields that filters know, by the reference's names and by ours."""
    return {"name": snapshot.key, **asdict(snapshot, recurse=False)}


def _snapshot(row: tuple[Any, ...]) -> Snapshot:
    return Snapshot(
        snapshotter=row[1], key=row[2], kind=SnapshotKind(row[3]), backend_id=row[4], parent=row[5],
        labels=to_labels(row[6]), usage=Usage(row[7], row[8]),
        created_at=to_time(row[9]), updated_at=to_time(row[10]),
    )  # fmt: skip
