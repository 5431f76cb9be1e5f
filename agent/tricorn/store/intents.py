"""Intents: announced before the first side effect, removed by the transaction that completes the change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tricorn.errors import NotFound
from tricorn.model.records import Intent
from tricorn.store.codec import to_json, to_mapping, to_time
from tricorn.store.session import Session


class Intents:
    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def begin(self, namespace: str, kind: str, object: str, data: Mapping[str, Any] | None = None) -> Intent:
        """Record what is about to be done to `object`."""
        stored = dict(data or {})
        number = self._session.insert_aside(
            "INSERT INTO intents (namespace, kind, object, data, created_at) VALUES (?, ?, ?, ?, ?)",
            namespace, kind, object, to_json(stored), self._session.now,
        )  # fmt: skip
        return Intent(number, namespace, kind, object, stored, to_time(self._session.now))

    def update(self, id: int, data: Mapping[str, Any]) -> None:
        """Replace the data of an intent. NotFound."""
        if not self._session.run_aside("UPDATE intents SET data = ? WHERE id = ?", to_json(data), id):
            raise NotFound(f"intent {id} does not exist")

    def end(self, id: int) -> None:
        """Forget the intent; one that is gone already is no error, for recovery may run twice."""
        self._session.run_aside("DELETE FROM intents WHERE id = ?", id)

    def list_all(self) -> list[Intent]:
        """Return what was begun and not ended, oldest first."""
        rows = self._session.all(
            "SELECT id, namespace, kind, object, data, created_at FROM intents ORDER BY id"
        )
        return [Intent(row[0], row[1], row[2], row[3], to_mapping(row[4]), to_time(row[5])) for row in rows]
