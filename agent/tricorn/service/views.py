"""Records as clients see them."""

from __future__ import annotations

from tricorn.model.health import HealthView
from tricorn.model.records import Container, Task
from tricorn.model.requests import ContainerView, ExitView, TaskView
from tricorn.service.lifecycle import ALIVE

_UNKNOWN = 255  # the exit code when nobody saw the end


def container_view(
    namespace: str,
    container: Container,
    task: Task | None,
    log_path: str,
    health: HealthView | None = None,
) -> ContainerView:
    """Return a container and its task, without spec and network."""
    return ContainerView(
        id=container.id, namespace=namespace, image=container.image,
        image_digest=container.image_digest, runtime=container.runtime,
        snapshotter=container.snapshotter, labels=container.labels,
        task=task_view(task, health) if task else None, desired=container.desired, log_path=log_path,
        created_at=container.created_at, updated_at=container.updated_at,
    )  # fmt: skip


def task_view(task: Task, health: HealthView | None = None) -> TaskView:
    """Return a task as clients see it."""
    return TaskView(
        status=task.status, pid=task.init.pid if task.init and task.status in ALIVE else 0,
        exit_code=task.exit_code, exit_note=task.exit_note, oom_killed=task.oom_killed,
        oom_kills=task.oom_kills,
        terminal=task.terminal, health=health if task.status in ALIVE else None,
        created_at=task.created_at, started_at=task.started_at,
        exited_at=task.exited_at,
    )  # fmt: skip


def exit_view(task: Task) -> ExitView:
    """Return a stopped task's end."""
    return ExitView(_UNKNOWN if task.exit_code is None else task.exit_code, task.exited_at, task.exit_note)
