"""The outbox: events are rows written with the change they tell of, read by cursor afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.model import ids
from tricorn.model.records import Event
from tricorn.store.codec import to_json, to_mapping, to_microseconds, to_time
from tricorn.store.session import Session

_SELECT: Final = "SELECT sequence, timestamp, namespace, topic, event FROM events "


class EventRows(NamedTuple):
    """Events after a cursor, oldest first. The journal holds the sequences `oldest_kept`…`newest`
    (`oldest_kept` = `newest` + 1 when it's empty).
    """

    events: list[Event]
    oldest_kept: int
    newest: int


class Events:
    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def publish(
        self, namespace: str, topic: str, event: Mapping[str, Any], timestamp: datetime | None = None
    ) -> int:
        """Append an event that happened at `timestamp` (None: now); return its sequence. InvalidArgument
        for a malformed topic.
        """
        _check_topic(topic)
        moment = self._session.now if timestamp is None else to_microseconds(timestamp)
        sequence = self._session.insert_aside(
            "INSERT INTO events (timestamp, namespace, topic, event) VALUES (?, ?, ?, ?)",
            moment, namespace, topic, to_json(event),
        )  # fmt: skip
        self._session.published = sequence
        return sequence

    def page(self, since: int, namespace: str | None = None, limit: int = limits.EVENTS_PAGE) -> EventRows:
        """Return up to `limit` events with a sequence beyond `since`, of one namespace or (None) of all."""
        if namespace is None:
            rows = self._session.all(_SELECT + "WHERE sequence > ? ORDER BY sequence LIMIT ?", since, limit)
        else:
            where = "WHERE namespace = ? AND sequence > ? ORDER BY sequence LIMIT ?"
            rows = self._session.all(_SELECT + where, namespace, since, limit)
        events = [Event(row[0], to_time(row[1]), row[2], row[3], to_mapping(row[4])) for row in rows]
        return EventRows(events, self._oldest(), self.newest())

    def newest(self) -> int:
        """Return the last sequence ever given, 0 before the first."""
        row = self._session.one("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
        return row[0] if row else 0

    def _oldest(self) -> int:
        row = self._session.one("SELECT sequence FROM events ORDER BY sequence LIMIT 1")
        return row[0] if row else self.newest() + 1

    def trim(self, keep: int = limits.EVENTS_KEPT) -> None:
        """Drop all but the newest `keep` events."""
        self._session.run_aside("DELETE FROM events WHERE sequence <= ?", self.newest() - keep)


def _check_topic(topic: str) -> None:
    if not topic.startswith("/"):
        raise InvalidArgument(
            f"event topic {topic!r} is malformed", why="it must start with /", field="topic"
        )
    for part in topic[1:].split("/"):
        ids.identifier(part, "topic")
