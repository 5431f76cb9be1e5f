"""Sandboxes that this agent made: what it has to find again after a restart."""

from __future__ import annotations

from typing import Final

import msgspec

from tricorn.errors import AlreadyExists, NotFound
from tricorn.model import ids
from tricorn.model.sandbox_instances import SandboxInstance
from tricorn.store.codec import to_json
from tricorn.store.namespaces import Namespaces
from tricorn.store.session import Session

_decoder: Final = msgspec.json.Decoder(SandboxInstance)


class SandboxInstances:
    __slots__ = ("_namespaces", "_session")

    def __init__(self, session: Session, namespaces: Namespaces) -> None:
        self._session = session
        self._namespaces = namespaces

    def create(self, namespace: str, instance: SandboxInstance) -> SandboxInstance:
        """Record a sandbox; AlreadyExists."""
        ids.identifier(instance.id, "sandbox_id")
        if self.find(namespace, instance.id):
            raise AlreadyExists(f"sandbox {instance.id} was created already in namespace {namespace}")
        self._namespaces.ensure(namespace)
        self._session.run(
            "INSERT INTO sandbox_instances VALUES (?, ?, ?)", namespace, instance.id, to_json(instance)
        )
        return instance

    def replace(self, namespace: str, instance: SandboxInstance) -> None:
        """Store it in place of the one with its id. NotFound."""
        if not self._session.run(
            "UPDATE sandbox_instances SET data = ? WHERE namespace = ? AND id = ?",
            to_json(instance), namespace, instance.id,
        ):  # fmt: skip
            raise self._missing(namespace, instance.id)

    def find(self, namespace: str, id: str) -> SandboxInstance | None:
        row = self._session.one(
            "SELECT data FROM sandbox_instances WHERE namespace = ? AND id = ?", namespace, id
        )
        return _decoder.decode(row[0]) if row else None

    def get(self, namespace: str, id: str) -> SandboxInstance:
        found = self.find(namespace, id)
        if found is None:
            raise self._missing(namespace, id)
        return found

    def delete(self, namespace: str, id: str) -> None:
        """Remove the record. NotFound."""
        if not self._session.run(
            "DELETE FROM sandbox_instances WHERE namespace = ? AND id = ?", namespace, id
        ):
            raise self._missing(namespace, id)

    def list_all(self) -> list[tuple[str, SandboxInstance]]:
        """Return those of all namespaces, each with its namespace: what recovery starts from."""
        rows = self._session.all("SELECT namespace, data FROM sandbox_instances ORDER BY namespace, id")
        return [(row[0], _decoder.decode(row[1])) for row in rows]

    def _missing(self, namespace: str, id: str) -> NotFound:
        return NotFound(
            f"sandbox {id} was not created in namespace {namespace}",
            why="no controller of this agent has it", hint="Controller.Create makes it",
        )  # fmt: skip
