"""Tasks: a container's run. Their events are published by the service, which knows what happened."""

from __future__ import annotations

from attrs import evolve

from tricorn.errors import NotFound
from tricorn.model import ids
from tricorn.model.records import Task
from tricorn.store.codec import to_json, to_task, to_time
from tricorn.store.namespaces import Namespaces
from tricorn.store.session import Session


class Tasks:
    __slots__ = ("_namespaces", "_session")

    def __init__(self, session: Session, namespaces: Namespaces) -> None:
        self._session = session
        self._namespaces = namespaces

    def put(self, namespace: str, task: Task) -> Task:
        """Store the task in place of any earlier one; `created_at` is set if it is None."""
        ids.identifier(task.container, "container")
        self._namespaces.ensure(namespace)
        if task.created_at is None:
            task = evolve(task, created_at=to_time(self._session.now))
        self._session.run_aside(
            "INSERT OR REPLACE INTO tasks VALUES (?, ?, ?)", namespace, task.container, to_json(task)
        )
        return task

    def find(self, namespace: str, container: str) -> Task | None:
        row = self._session.one(
            "SELECT data FROM tasks WHERE namespace = ? AND container = ?", namespace, container
        )
        return to_task(row[0]) if row else None

    def get(self, namespace: str, container: str) -> Task:
        found = self.find(namespace, container)
        if found is None:
            raise NotFound(f"container {container} has no task in namespace {namespace}")
        return found

    def list_all(self) -> list[tuple[str, Task]]:
        """Return the tasks of all namespaces, each with its namespace: what recovery starts from."""
        rows = self._session.all("SELECT namespace, data FROM tasks ORDER BY namespace, container")
        return [(row[0], to_task(row[1])) for row in rows]

    def delete(self, namespace: str, container: str) -> None:
        """Remove the task's record. NotFound."""
        if not self._session.run_aside(
            "DELETE FROM tasks WHERE namespace = ? AND container = ?", namespace, container
        ):
            raise NotFound(f"container {container} has no task in namespace {namespace}")

    def list(self, namespace: str) -> list[Task]:
        rows = self._session.all("SELECT data FROM tasks WHERE namespace = ? ORDER BY container", namespace)
        return [to_task(row[0]) for row in rows]
