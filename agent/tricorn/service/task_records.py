"""How tasks are written down: record and event in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve

from tricorn.model.records import Task, TaskStatus
from tricorn.ports import BundleRef, Created, FilesystemMount
from tricorn.service import process_events
from tricorn.store.transaction import Transaction


def record_created(
    tx: Transaction, ref: BundleRef, task: Task, rootfs: Sequence[FilesystemMount] = ()
) -> None:
    """Write a new task down, and its event. NotFound if its container was removed meanwhile."""
    tx.containers.get(ref.namespace, ref.id)
    tx.tasks.put(ref.namespace, task)
    pid = task.init.pid if task.init else 0
    event = process_events.created(ref.id, ref.bundle, pid, rootfs, task.stdio)
    tx.events.publish(ref.namespace, "/tasks/create", event)


def record_started(tx: Transaction, namespace: str, container_id: str) -> None:
    """Write down that a task was let go, and the event."""
    task = tx.tasks.get(namespace, container_id)
    if task.status is TaskStatus.CREATED:
        tx.tasks.put(namespace, evolve(task, status=TaskStatus.RUNNING, started_at=tx.now))
    event = {"container_id": container_id, "pid": task.init.pid if task.init else 0}
    tx.events.publish(namespace, "/tasks/start", event)


def record_restored(ref: BundleRef, created: Created, intent: int, tx: Transaction) -> None:
    """Write down that a created task was restored, and runs."""
    task = tx.tasks.get(ref.namespace, ref.id)
    tx.tasks.put(ref.namespace, evolve(task, init=created.init, monitor=created.monitor, restoring=False))
    record_started(tx, ref.namespace, ref.id)
    tx.intents.end(intent)


def delete_event(tx: Transaction, container_id: str, task: Task) -> dict[str, Any]:
    """Return what the journal tells when a task is removed."""
    code = task.exit_code if task.exit_code is not None else 137
    pid = task.init.pid if task.init else 0
    return process_events.deleted(container_id, pid, code, task.exited_at or tx.now)
