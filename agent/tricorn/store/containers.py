"""Containers: what a container is, apart from whether it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from attrs import evolve

from tricorn.errors import AlreadyExists, InvalidArgument, NotFound
from tricorn.model import filters, ids
from tricorn.model.records import Container
from tricorn.rules.plan import merged_labels
from tricorn.rules.runtime_names import shown_runtime
from tricorn.store.budgets import Budgets
from tricorn.store.codec import (
    to_any_value,
    to_any_values,
    to_json,
    to_labels,
    to_mapping,
    to_time,
)
from tricorn.store.journal import Events
from tricorn.store.namespaces import Namespaces
from tricorn.store.session import Session

_SELECT: Final = (
    "SELECT namespace, id, image, image_digest, runtime, snapshotter, snapshot_key, spec, "
    "desired, labels, extensions, created_at, updated_at, runtime_name, runtime_options, spec_type, sandbox "
    "FROM containers "
)


class Containers:
    __slots__ = ("_budgets", "_events", "_namespaces", "_session")

    def __init__(self, session: Session, events: Events, namespaces: Namespaces, budgets: Budgets) -> None:
        self._session = session
        self._events = events
        self._namespaces = namespaces
        self._budgets = budgets

    def create(self, namespace: str, container: Container) -> Container:
        """Record a new container (its times are set here). AlreadyExists, InvalidArgument;
        ResourceExhausted beyond the namespace's budget.
        """
        _check(container)
        if self.find(namespace, container.id):
            raise AlreadyExists(f"container {container.id} exists already in namespace {namespace}")
        self._budgets.admit(namespace, "containers")
        self._namespaces.ensure(namespace)
        now = self._session.now
        self._session.run(
            "INSERT INTO containers (namespace, id, created_at, updated_at, image, image_digest, runtime, "
            "snapshotter, snapshot_key, spec, desired, labels, extensions, runtime_name, runtime_options, "
            "spec_type, sandbox) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            namespace, container.id, now, now, *_values(container),
        )  # fmt: skip
        self._events.publish(
            namespace,
            "/containers/create",
            {"id": container.id, "image": container.image, "runtime": {"name": shown_runtime(container)}},
        )
        return evolve(container, created_at=to_time(now), updated_at=to_time(now))

    def update(self, namespace: str, id: str, **changes: Any) -> Container:
        """Change the named fields of a container: `labels` (merged, an empty value deletes), `spec`,
        `desired`, `extensions`, `image`, `image_digest`, `snapshot_key`. NotFound; InvalidArgument for
        `runtime`, `runtime_name` and `snapshotter`, which never change.
        """
        old = self.get(namespace, id)
        labels = changes.pop("labels", None)
        if labels is not None:
            changes["labels"] = merged_labels(old.labels, labels)
        return self.replace(namespace, evolve(old, **changes))

    def replace(self, namespace: str, container: Container) -> Container:
        """Store the whole container in place of the one with its id (labels included); as `update`."""
        old = self.get(namespace, container.id)
        for field in ("runtime", "runtime_name", "snapshotter"):
            if getattr(old, field) != getattr(container, field):
                raise InvalidArgument(
                    f"container {container.id}: {field} cannot be changed", field=field,
                    hint="delete the container and create it anew",
                )  # fmt: skip
        _check(container)
        self._session.run(
            "UPDATE containers SET image = ?, image_digest = ?, runtime = ?, snapshotter = ?, "
            "snapshot_key = ?, spec = ?, desired = ?, labels = ?, extensions = ?, runtime_name = ?, "
            "runtime_options = ?, spec_type = ?, sandbox = ?, updated_at = ? WHERE namespace = ? AND id = ?",
            *_values(container), self._session.now, namespace, container.id,
        )  # fmt: skip
        self._session.deletions += 1  # what it referred to before may be free now
        self._publish_update(namespace, container)
        return evolve(container, created_at=old.created_at, updated_at=to_time(self._session.now))

    def _publish_update(self, namespace: str, container: Container) -> None:
        event = {
            "id": container.id, "image": container.image,
            "labels": dict(container.labels), "snapshot_key": container.snapshot_key,
        }  # fmt: skip
        self._events.publish(namespace, "/containers/update", event)

    def find(self, namespace: str, id: str) -> Container | None:
        row = self._session.one(_SELECT + "WHERE namespace = ? AND id = ?", namespace, id)
        return _container(row) if row else None

    def get(self, namespace: str, id: str) -> Container:
        found = self.find(namespace, id)
        if found is None:
            raise NotFound(f"container {id} does not exist in namespace {namespace}")
        return found

    def list_all(self) -> list[tuple[str, Container]]:
        """Return the containers of all namespaces, each with its namespace."""
        rows = self._session.all(_SELECT + "ORDER BY namespace, id")
        return [(row[0], _container(row)) for row in rows]

    def mapped_specs(self) -> list[bytes]:
        """Return the specs, of all namespaces, that have mappings of a user namespace (or seem to)."""
        rows = self._session.all(
            "SELECT spec FROM containers WHERE instr(spec, CAST('\"uidMappings\"' AS BLOB)) > 0"
        )
        return [row[0] for row in rows]

    def list_restartable(self) -> list[tuple[str, Container]]:
        """Return the containers, each with its namespace, that a request or labels give a restart policy."""
        rows = self._session.all(
            _SELECT + "WHERE instr(labels, 'containerd.io/restart.') "
            "OR json_extract(CAST(desired AS TEXT), '$.restart') <> 'no' ORDER BY namespace, id"
        )
        return [(row[0], _container(row)) for row in rows]

    def list_with_health(self) -> list[tuple[str, Container]]:
        """Return the containers, each with its namespace, whose request has a health check."""
        rows = self._session.all(
            _SELECT + "WHERE json_type(CAST(desired AS TEXT), '$.health') = 'object' ORDER BY namespace, id"
        )
        return [(row[0], _container(row)) for row in rows]

    def delete(self, namespace: str, id: str) -> None:
        """Remove the record, whether or not a task exists (that's the caller's to check). NotFound."""
        if not self._session.run("DELETE FROM containers WHERE namespace = ? AND id = ?", namespace, id):
            raise NotFound(f"container {id} does not exist in namespace {namespace}")
        self._session.deletions += 1
        self._events.publish(namespace, "/containers/delete", {"id": id})

    def list(self, namespace: str, expressions: Sequence[str] = ()) -> list[Container]:
        """Return the containers that match any of the filters, by id."""
        rows = self._session.all(_SELECT + "WHERE namespace = ? ORDER BY id", namespace)
        return filters.select(expressions, map(_container, rows))


def _check(container: Container) -> None:
    ids.identifier(container.id)
    ids.labels(container.labels)
    if not container.runtime:
        raise InvalidArgument(f"container {container.id} has no runtime", field="runtime")
    if not container.spec and not container.spec_type:
        raise InvalidArgument(f"container {container.id} has no spec", field="spec")
    if container.snapshot_key and not container.snapshotter:
        raise InvalidArgument(
            f"container {container.id} has a snapshot key but no snapshotter", field="snapshotter"
        )


def _values(container: Container) -> tuple[Any, ...]:
    options = container.runtime_options
    return (
        container.image, container.image_digest, container.runtime, container.snapshotter,
        container.snapshot_key, bytes(container.spec), to_json(container.desired),
        to_json(container.labels), to_json(container.extensions),
        container.runtime_name, to_json(options) if options else b"", container.spec_type, container.sandbox,
    )  # fmt: skip


def _container(row: tuple[Any, ...]) -> Container:
    return Container(
        id=row[1], image=row[2], image_digest=row[3], runtime=row[4], snapshotter=row[5],
        snapshot_key=row[6], spec=row[7], desired=to_mapping(row[8]), labels=to_labels(row[9]),
        extensions=to_any_values(row[10]), created_at=to_time(row[11]), updated_at=to_time(row[12]),
        runtime_name=row[13], runtime_options=to_any_value(row[14]), spec_type=row[15], sandbox=row[16],
    )  # fmt: skip
