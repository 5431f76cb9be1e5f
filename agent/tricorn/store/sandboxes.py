"""Sandboxes: records that their clients keep here; what runs is no matter of this table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from attrs import evolve

from tricorn.errors import AlreadyExists, InvalidArgument, NotFound
from tricorn.model import filters, ids
from tricorn.model.records import AnyValue, Sandbox, SandboxRuntime
from tricorn.store.codec import to_any_value, to_any_values, to_json, to_labels, to_time
from tricorn.store.namespaces import Namespaces
from tricorn.store.session import Session

_SELECT: Final = (
    "SELECT id, runtime, runtime_options, spec, sandboxer, labels, extensions, created_at, updated_at "
    "FROM sandboxes "
)


class Sandboxes:
    __slots__ = ("_namespaces", "_session")

    def __init__(self, session: Session, namespaces: Namespaces) -> None:
        self._session = session
        self._namespaces = namespaces

    def create(self, namespace: str, sandbox: Sandbox) -> Sandbox:
        """Record a sandbox; AlreadyExists, InvalidArgument."""
        _check(sandbox)
        if self.find(namespace, sandbox.id):
            raise AlreadyExists(f"sandbox {sandbox.id} exists already in namespace {namespace}")
        self._namespaces.ensure(namespace)
        now = self._session.now
        self._session.run(
            "INSERT INTO sandboxes (namespace, id, runtime, runtime_options, spec, sandboxer, labels, "
            "extensions, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            namespace, sandbox.id, *_values(sandbox), now, now,
        )  # fmt: skip
        return evolve(sandbox, created_at=to_time(now), updated_at=to_time(now))

    def replace(self, namespace: str, sandbox: Sandbox) -> Sandbox:
        """Store the whole record in place of the one with its id. NotFound; InvalidArgument for the name of
        the runtime and the controller, which never change.
        """
        old = self.get(namespace, sandbox.id)
        for field, before, after in (
            ("runtime.name", old.runtime.name, sandbox.runtime.name),
            ("sandboxer", old.sandboxer, sandbox.sandboxer),
        ):
            if before != after:
                raise InvalidArgument(f"sandbox {sandbox.id}: {field} cannot be changed", field=field)
        _check(sandbox)
        self._session.run(
            "UPDATE sandboxes SET runtime = ?, runtime_options = ?, spec = ?, sandboxer = ?, labels = ?, "
            "extensions = ?, updated_at = ? WHERE namespace = ? AND id = ?",
            *_values(sandbox), self._session.now, namespace, sandbox.id,
        )  # fmt: skip
        self._session.deletions += 1  # what its labels referred to before may be free now
        return evolve(sandbox, created_at=old.created_at, updated_at=to_time(self._session.now))

    def find(self, namespace: str, id: str) -> Sandbox | None:
        row = self._session.one(_SELECT + "WHERE namespace = ? AND id = ?", namespace, id)
        return _sandbox(row) if row else None

    def get(self, namespace: str, id: str) -> Sandbox:
        found = self.find(namespace, id)
        if found is None:
            raise NotFound(f"sandbox {id} does not exist in namespace {namespace}")
        return found

    def delete(self, namespace: str, id: str) -> None:
        """Remove the record. NotFound."""
        if not self._session.run("DELETE FROM sandboxes WHERE namespace = ? AND id = ?", namespace, id):
            raise NotFound(f"sandbox {id} does not exist in namespace {namespace}")
        self._session.deletions += 1

    def list(self, namespace: str, expressions: Sequence[str] = ()) -> list[Sandbox]:
        """Return the sandboxes that match any of the filters, by id."""
        rows = self._session.all(_SELECT + "WHERE namespace = ? ORDER BY id", namespace)
        return filters.select(expressions, map(_sandbox, rows))


def _check(sandbox: Sandbox) -> None:
    ids.identifier(sandbox.id, "sandbox_id")
    ids.labels(sandbox.labels)
    if not sandbox.runtime.name:
        raise InvalidArgument("a sandbox needs the name of a runtime", field="runtime.name")


def _values(sandbox: Sandbox) -> tuple[Any, ...]:
    return (
        sandbox.runtime.name, _kept(sandbox.runtime.options), _kept(sandbox.spec), sandbox.sandboxer,
        to_json(sandbox.labels), to_json(sandbox.extensions),
    )  # fmt: skip


def _kept(value: AnyValue | None) -> bytes:
    return b"" if value is None else to_json(value)


def _sandbox(row: tuple[Any, ...]) -> Sandbox:
    return Sandbox(
        id=row[0],
        runtime=SandboxRuntime(row[1], to_any_value(row[2])),
        spec=to_any_value(row[3]),
        sandboxer=row[4],
        labels=to_labels(row[5]),
        extensions=to_any_values(row[6]),
        created_at=to_time(row[7]),
        updated_at=to_time(row[8]),
    )
