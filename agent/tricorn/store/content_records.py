"""Which blobs each namespace has. The bytes themselves are `content.py`'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import evolve

from tricorn.errors import AlreadyExists, NotFound
from tricorn.model import filters, ids
from tricorn.model.checkpoints import PRIVATE
from tricorn.model.ids import Digest
from tricorn.model.records import ContentInfo
from tricorn.rules.gc_labels import loosens
from tricorn.rules.plan import merged_labels
from tricorn.store.budgets import Budgets
from tricorn.store.codec import to_json, to_labels, to_time
from tricorn.store.journal import Events
from tricorn.store.leases import Leases
from tricorn.store.namespaces import Namespaces
from tricorn.store.session import Session

_SELECT: Final = "SELECT namespace, digest, size, labels, created_at, updated_at FROM content "
_QUARANTINED: Final = "SELECT namespace, digest, size, labels, created_at, updated_at FROM quarantined "
_SOURCE: Final = "containerd.io/distribution.source."
_SHAREABLE: Final = "containerd.io/namespace.shareable"


class ContentRecords:
    __slots__ = ("_budgets", "_events", "_leases", "_namespaces", "_session")

    def __init__(
        self, session: Session, events: Events, namespaces: Namespaces, leases: Leases, budgets: Budgets
    ) -> None:
        self._session = session
        self._events = events
        self._namespaces = namespaces
        self._leases = leases
        self._budgets = budgets

    def create(
        self, namespace: str, digest: Digest, size: int, labels: Mapping[str, str] | None = None, *,
        lease: str = "",
    ) -> ContentInfo:  # fmt: skip
        """Record a blob whose file is in place. AlreadyExists; ResourceExhausted beyond the budget."""
        if self.find(namespace, digest):
            raise AlreadyExists(f"content {digest} exists already in namespace {namespace}")
        checked = ids.labels(self._restore(namespace, digest, labels or {}))
        self._budgets.admit_bytes(namespace, size)
        self._namespaces.ensure(namespace)
        now = self._session.now
        self._session.run(
            "INSERT INTO content VALUES (?, ?, ?, ?, ?, ?)",
            namespace, str(digest), size, to_json(checked), now, now,
        )  # fmt: skip
        self._leases.protect(namespace, lease, "content", digest)
        self._events.publish(namespace, "/content/create", {"digest": digest, "size": size})
        return ContentInfo(digest, size, checked, to_time(now), to_time(now))

    def _restore(self, namespace: str, digest: Digest, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Bring back what namespaces knew of a blob before it went into quarantine, now that its file is
        good again; return the labels of the one that has it anew.
        """
        rows = self._session.all(_QUARANTINED + "WHERE digest = ?", str(digest))
        for row in rows:
            if row[0] == namespace:
                labels = {**to_labels(row[3]), **labels}
                continue
            self._session.run("INSERT OR IGNORE INTO content VALUES (?, ?, ?, ?, ?, ?)", *row)
            self._events.publish(row[0], "/content/create", {"digest": digest, "size": row[2]})
        if rows:
            self._session.run("DELETE FROM quarantined WHERE digest = ?", str(digest))
        return labels

    def share(
        self, namespace: str, digest: Digest, *, lease: str = "", isolated: bool = False
    ) -> ContentInfo | None:
        """Give the namespace a blob that it or any other has; None if none has. Under `isolated` the
        other must be labelled shareable. Of its labels only those that tell of the blob's source come
        along: the others are references inside the other namespace.
        """
        found = self.find(namespace, digest)
        if found is not None:
            self._leases.protect(namespace, lease, "content", digest)
            return found
        other = self.elsewhere(digest, isolated=isolated)
        if other is None:
            return None
        labels = {k: v for k, v in other.labels.items() if k.startswith(_SOURCE)}
        return self.create(namespace, digest, other.size, labels, lease=lease)

    def elsewhere(self, digest: Digest, *, isolated: bool = False) -> ContentInfo | None:
        """Return the blob as the first namespace has it that may share it, None if none may."""
        rows = self._session.all(_SELECT + "WHERE digest = ? ORDER BY namespace", str(digest))
        found = (_info(row) for row in rows if not isolated or self._shareable(row[0]))
        return next((info for info in found if PRIVATE not in info.labels), None)

    def _shareable(self, namespace: str) -> bool:
        return self._namespaces.get(namespace).labels.get(_SHAREABLE) == "true"

    def find(self, namespace: str, digest: str) -> ContentInfo | None:
        row = self._session.one(_SELECT + "WHERE namespace = ? AND digest = ?", namespace, str(digest))
        return _info(row) if row else None

    def get(self, namespace: str, digest: str) -> ContentInfo:
        found = self.find(namespace, digest)
        if found is None:
            raise NotFound(f"content {digest} does not exist in namespace {namespace}")
        return found

    def list_all(self) -> list[tuple[str, ContentInfo]]:
        """Return the blobs of all namespaces, each with its namespace."""
        rows = self._session.all(_SELECT + "ORDER BY namespace, digest")
        return [(row[0], _info(row)) for row in rows]

    def digests(self) -> set[str]:
        """Return every digest that any namespace has."""
        return {row[0] for row in self._session.all("SELECT DISTINCT digest FROM content")}

    def update_labels(self, namespace: str, digest: str, labels: Mapping[str, str]) -> ContentInfo:
        """Merge `labels` in; an empty value deletes. NotFound."""
        old = self.get(namespace, digest)
        new = ids.labels(merged_labels(old.labels, labels))
        self._session.run(
            "UPDATE content SET labels = ?, updated_at = ? WHERE namespace = ? AND digest = ?",
            to_json(new), self._session.now, namespace, str(old.digest),
        )  # fmt: skip
        self._session.deletions += loosens(old.labels, new)
        return evolve(old, labels=new, updated_at=to_time(self._session.now))

    def delete(self, namespace: str, digest: str) -> None:
        """Remove the record; the file goes in a later sweep, unless another namespace has it. NotFound."""
        if not self._session.run(
            "DELETE FROM content WHERE namespace = ? AND digest = ?", namespace, str(digest)
        ):
            raise NotFound(f"content {digest} does not exist in namespace {namespace}")
        self._session.deletions += 1
        self._events.publish(namespace, "/content/delete", {"digest": digest})

    def discard(self, namespace: str, digest: str) -> None:
        """Remove the record, in service or in quarantine (the collector's door). NotFound."""
        if self._session.run_aside(
            "DELETE FROM quarantined WHERE namespace = ? AND digest = ?", namespace, str(digest)
        ):
            self._session.mutations += 1
            self._session.deletions += 1
        else:
            self.delete(namespace, digest)

    def list(self, namespace: str, expressions: Sequence[str] = ()) -> list[ContentInfo]:
        """Return the blobs that match any of the filters, by digest."""
        rows = self._session.all(_SELECT + "WHERE namespace = ? ORDER BY digest", namespace)
        return filters.select(expressions, map(_info, rows))


def _info(row: tuple[Any, ...]) -> ContentInfo:
    return ContentInfo(Digest(row[1]), row[2], to_labels(row[3]), to_time(row[4]), to_time(row[5]))
