"""Use cases on the records of sandboxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import evolve

from tricorn.errors import InvalidArgument
from tricorn.model.records import Sandbox
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

_ALL: Final = ("labels", "extensions", "spec", "runtime")


class SandboxService:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(self, namespace: str, sandbox: Sandbox) -> Sandbox:
        """Record a sandbox; the times are ours. AlreadyExists, InvalidArgument."""
        return await self._db.write(lambda tx: tx.sandboxes.create(namespace, sandbox))

    async def update(self, namespace: str, sandbox: Sandbox, fields: Sequence[str] = ()) -> Sandbox:
        """Change a record: these fields (`labels`, `labels.<key>`, `extensions`, `extensions.<name>`, `spec`,
        `runtime`), or all of them. NotFound, InvalidArgument.
        """

        def update(tx: Transaction) -> Sandbox:
            changed = tx.sandboxes.get(namespace, sandbox.id)
            for field in fields or _ALL:
                changed = _with(changed, sandbox, field)
            return tx.sandboxes.replace(namespace, changed)

        return await self._db.write(update)

    async def get(self, namespace: str, id: str) -> Sandbox:
        return await self._db.look(lambda tx: tx.sandboxes.get(namespace, id))

    async def list(self, namespace: str, filters: Sequence[str] = ()) -> list[Sandbox]:
        return await self._db.read(lambda tx: tx.sandboxes.list(namespace, filters))

    async def delete(self, namespace: str, id: str) -> None:
        """Forget a sandbox; NotFound."""
        await self._db.write(lambda tx: tx.sandboxes.delete(namespace, id))


def _with(old: Sandbox, new: Sandbox, field: str) -> Sandbox:
    """Return `old` with one field as `new` has it; an empty or absent value takes an entry away."""
    head, _, key = field.partition(".")
    if field in _ALL:
        return evolve(old, **{field: getattr(new, field)})
    if head == "labels" and key:
        labels = {**old.labels, key: new.labels.get(key, "")}
        return evolve(old, labels={name: text for name, text in labels.items() if text})
    if head == "extensions" and key:
        rest = {name: value for name, value in old.extensions.items() if name != key}
        return evolve(
            old, extensions={**rest, **({key: new.extensions[key]} if key in new.extensions else {})}
        )
    raise InvalidArgument(
        f"sandbox {old.id}: {field!r} cannot be updated", hint=f"use {', '.join(_ALL)}", field="fields"
    )
