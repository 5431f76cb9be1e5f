"""Waiting for several containers at once, for any of the states that people wait for."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from tricorn.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument
from tricorn.model.health import HealthStatus
from tricorn.model.records import Container, Task, TaskStatus
from tricorn.model.requests import WaitState, WaitView
from tricorn.rules.restarts import wish_of
from tricorn.service.health import HealthService, check_of
from tricorn.service.lifecycle import Lifecycle
from tricorn.store.db import Database

_MOST = 1000  # containers of one call


class WaitService:
    """Driven by the journal: whatever is written makes it look again."""

    def __init__(self, db: Database, lifecycle: Lifecycle, health: HealthService) -> None:
        self._db = db
        self._lifecycle = lifecycle
        self._health = health

    async def wait(
        self,
        namespace: str,
        names: Sequence[str],
        *,
        state: WaitState = "exited",
        any: bool = False,
        timeout: float = float("inf"),
    ) -> list[WaitView]:
        """Return how the containers are once all of them (or with `any` one) have reached the state.

        NotFound; FailedPrecondition for one that can't reach it: no task to exit, no health check, or ended
        without a restart policy where it shall be healthy. DeadlineExceeded after `timeout` seconds names
        those that are missing.
        """
        if not 0 < len(names) <= _MOST:
            raise InvalidArgument(f"wait for 1 to {_MOST} containers", field="container")
        views: list[WaitView] = []
        with trio.move_on_after(timeout):
            while True:
                seen = self._db.newest
                views = [await self._look(namespace, name, state) for name in dict.fromkeys(names)]
                reached = [view.reached for view in views]
                if (True in reached) if any else all(reached):
                    return views
                await self._db.wait_beyond(seen)
        missing = [f"{view.id} ({view.status})" for view in views if not view.reached]
        raise DeadlineExceeded(
            f"not {state} after {timeout:g} s: {', '.join(missing) or ', '.join(names)}"[:2000]
        )

    async def _look(self, namespace: str, name: str, state: WaitState) -> WaitView:
        container, task = await self._lifecycle.records(namespace, name)
        match state:
            case "exited":
                reached = _exited(name, task)
            case "running":
                reached = task is not None and task.status is TaskStatus.RUNNING
            case "healthy":
                reached = self._healthy(namespace, container, task)
        ended = task is not None and task.status is TaskStatus.STOPPED
        return WaitView(
            id=name, reached=reached, status=str(task.status) if task else "created",
            exit_code=task.exit_code if task and ended else None,
            exited_at=task.exited_at if task and ended else None,
            note=task.exit_note if task and ended else "",
        )  # fmt: skip

    def _healthy(self, namespace: str, container: Container, task: Task | None) -> bool:
        if check_of(container) is None:
            raise FailedPrecondition(
                f"container {container.id} has no health check", hint="wait until it is running instead"
            )
        ended = task is not None and task.status is TaskStatus.STOPPED
        if ended and wish_of(container) is None:
            raise FailedPrecondition(f"container {container.id} has ended and won't be healthy")
        health = self._health.of(namespace, container.id)
        return health is not None and health.status is HealthStatus.HEALTHY


def _exited(name: str, task: Task | None) -> bool:
    if task is None:
        raise FailedPrecondition(f"container {name} has no task", hint="start it first")
    return task.status is TaskStatus.STOPPED
