"""Telling of processes that the kernel killed for want of memory, while their container goes on, too."""

from __future__ import annotations

from attrs import evolve

from tricorn.model.records import Task
from tricorn.ports import Exit
from tricorn.store.transaction import Transaction


def note_kills(tx: Transaction, namespace: str, container: str, count: int) -> None:
    """Write down how many processes of a task were killed, and the event if there are more than before."""
    task = tx.tasks.find(namespace, container)
    if task is not None and count > task.oom_kills:
        tx.tasks.put(namespace, evolve(task, oom_kills=count))
        _publish(tx, namespace, container, count)


def tell_at_exit(tx: Transaction, namespace: str, task: Task, result: Exit) -> int:
    """Publish what was not told of yet, and return the final count. Where the kernel doesn't count, the
    monitor's word is one kill.
    """
    count = max(result.oom_kills, int(result.oom_killed), task.oom_kills)
    if count > task.oom_kills:
        _publish(tx, namespace, task.container, count)
    return count


def _publish(tx: Transaction, namespace: str, container: str, count: int) -> None:
    tx.events.publish(namespace, "/tasks/oom", {"container_id": container, "count": count})
