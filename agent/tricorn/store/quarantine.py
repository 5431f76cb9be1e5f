"""Blobs taken out of service because their files are damaged or missing, and what was known of them.

A namespace's record of such a blob moves from `content` to `quarantined`: nobody finds it any more, so that a
pull brings the blob anew; but the collector still follows its labels, so that nothing else goes meanwhile.
Once the blob is back, all of its records are (see `ContentRecords.create`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from attrs import frozen

from tricorn.errors import NotFound
from tricorn.model.ids import Digest
from tricorn.model.records import ContentInfo, QuarantinedBlob
from tricorn.store.codec import to_labels, to_microseconds, to_time
from tricorn.store.journal import Events
from tricorn.store.session import Session

_SELECT: Final = "SELECT digest, size, why, file, found_at FROM quarantine "
_COLUMNS: Final = "namespace, digest, size, labels, created_at, updated_at"


@frozen
class Damage:
    """What is wrong with a blob; `file` is the name of its file in quarantine, "" if it has none."""

    digest: Digest
    size: int
    why: str
    file: str = ""


class Quarantine:
    __slots__ = ("_events", "_session")

    def __init__(self, session: Session, events: Events) -> None:
        self._session = session
        self._events = events

    def put(self, damage: Damage) -> list[str]:
        """Take a blob from all namespaces; return those that had it. Nothing is recorded if none had."""
        digest = str(damage.digest)
        rows = self._session.all("SELECT namespace FROM content WHERE digest = ? ORDER BY namespace", digest)
        namespaces = [row[0] for row in rows]
        if not namespaces:
            return []
        self._session.run(
            f"INSERT OR REPLACE INTO quarantined SELECT {_COLUMNS} FROM content WHERE digest = ?",  # noqa: S608 - constants
            digest,
        )
        self._session.run("DELETE FROM content WHERE digest = ?", digest)
        self._session.run(
            "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?)",
            digest, damage.size, damage.why, damage.file, self._session.now,
        )  # fmt: skip
        self._session.run_aside("DELETE FROM blob_checks WHERE digest = ?", digest)
        for namespace in namespaces:
            self._events.publish(namespace, "/content/delete", {"digest": digest})
            event = {"digest": digest, "size": damage.size, "why": damage.why}
            self._events.publish(namespace, "/content/quarantine", event)
        return namespaces

    def get(self, digest: str) -> QuarantinedBlob:
        """NotFound."""
        row = self._session.one(_SELECT + "WHERE digest = ?", str(digest))
        if row is None:
            raise NotFound(f"content {digest} is not in quarantine")
        return self._blob(row)

    def remove(self, digest: str) -> QuarantinedBlob:
        """Forget a blob, and what namespaces knew of it; its file is the caller's to remove. NotFound."""
        found = self.get(digest)
        self._session.run("DELETE FROM quarantine WHERE digest = ?", str(digest))
        if found.namespaces:
            self._session.run("DELETE FROM quarantined WHERE digest = ?", str(digest))
            self._session.deletions += 1
        return found

    def forget(self, namespace: str, digest: str) -> None:
        """Drop what one namespace knew of a blob: nothing there needs it any more."""
        self._session.run(
            "DELETE FROM quarantined WHERE namespace = ? AND digest = ?", namespace, str(digest)
        )
        self._session.deletions += 1

    def waiting(self) -> dict[Digest, list[tuple[str, ContentInfo]]]:
        """Return what namespaces knew of the blobs that are not back yet, by digest."""
        found: dict[Digest, list[tuple[str, ContentInfo]]] = {}
        for row in self._session.all(f"SELECT {_COLUMNS} FROM quarantined ORDER BY digest, namespace"):  # noqa: S608 - a constant
            info = ContentInfo(Digest(row[1]), row[2], to_labels(row[3]), to_time(row[4]), to_time(row[5]))
            found.setdefault(info.digest, []).append((row[0], info))
        return found

    def misses(self, namespace: str, digest: str) -> bool:
        """Tell whether a namespace has lost the blob to the quarantine."""
        query = "SELECT 1 FROM quarantined WHERE namespace = ? AND digest = ?"
        return self._session.one(query, namespace, str(digest)) is not None

    def files(self) -> set[str]:
        """Return the names of all files that records speak of."""
        return {row[0] for row in self._session.all("SELECT file FROM quarantine WHERE file != ''")}

    def all(self) -> list[QuarantinedBlob]:
        """Return all that were found, by digest; those that are back are `restored`."""
        return [self._blob(row) for row in self._session.all(_SELECT + "ORDER BY digest")]

    def _blob(self, row: tuple[Any, ...]) -> QuarantinedBlob:
        rows = self._session.all(
            "SELECT namespace FROM quarantined WHERE digest = ? ORDER BY namespace", row[0]
        )
        back = self._session.one("SELECT 1 FROM content WHERE digest = ?", row[0]) is not None
        namespaces = tuple(found[0] for found in rows)
        return QuarantinedBlob(Digest(row[0]), row[1], row[2], row[3], namespaces, back, to_time(row[4]))


class BlobChecks:
    """When each blob was last found to be what its digest says."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def passed(self, digest: str) -> None:
        self._session.run_aside(
            "INSERT OR REPLACE INTO blob_checks VALUES (?, ?)", str(digest), self._session.now
        )

    def due(self, before: datetime, namespace: str = "") -> list[tuple[Digest, int]]:
        """Return (digest, size) of the blobs that were not checked since `before`, longest ago first."""
        rows = self._session.all(
            "SELECT c.digest, max(c.size) FROM content c LEFT JOIN blob_checks b ON b.digest = c.digest "
            "WHERE coalesce(b.checked_at, 0) < ? AND (? = '' OR c.namespace = ?) "
            "GROUP BY c.digest ORDER BY coalesce(b.checked_at, 0), c.digest",
            to_microseconds(before), namespace, namespace,
        )  # fmt: skip
        return [(Digest(row[0]), row[1]) for row in rows]

    def recorded(self, namespace: str = "") -> dict[Digest, int]:
        """Return the size of every blob that any namespace, or this one, has a record of."""
        rows = self._session.all(
            "SELECT digest, max(size) FROM content WHERE ? = '' OR namespace = ? GROUP BY digest",
            namespace, namespace,
        )  # fmt: skip
        return {Digest(row[0]): row[1] for row in rows}

    def at(self, digest: str) -> datetime | None:
        row = self._session.one("SELECT checked_at FROM blob_checks WHERE digest = ?", str(digest))
        return to_time(row[0]) if row else None

    def oldest(self) -> tuple[int, datetime | None]:
        """Return how many blobs were never checked, and when the one was that it is longest ago for."""
        row = self._session.one(
            "SELECT count(*) FILTER (WHERE b.checked_at IS NULL), min(b.checked_at) "
            "FROM (SELECT DISTINCT digest FROM content) c LEFT JOIN blob_checks b ON b.digest = c.digest"
        )
        never, oldest = row or (0, None)
        return never, to_time(oldest) if oldest else None

    def trim(self) -> None:
        """Forget the blobs that are no more."""
        self._session.run_aside("DELETE FROM blob_checks WHERE digest NOT IN (SELECT digest FROM content)")
