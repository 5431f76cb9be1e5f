"""Asks running containers how they fare, as their requests want it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import structlog
import trio
from attrs import define, frozen

from tricorn.errors import DeadlineExceeded, FailedPrecondition, NotFound, TricornError
from tricorn.model.health import HealthCheck, HealthStatus, HealthView
from tricorn.model.records import Container, Task, TaskStatus
from tricorn.model.requests import ExecRequest, KillRequest
from tricorn.ports import Clock
from tricorn.rules import health as rules
from tricorn.runtime.probes import probe
from tricorn.service.changes import at_changes
from tricorn.service.tasks import TaskService
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction
from tricorn.structuring import structure

log = structlog.get_logger(__name__)
_OUTPUT: Final = 200  # characters of a probe's output in its note
Key = tuple[str, str]


@frozen
class _Patient:
    key: Key
    task: Task
    check: HealthCheck

    @property
    def run(self) -> tuple[Any, ...]:
        """What makes it another one: another process, another check."""
        return self.task.init, self.check


@define(eq=False)
class _Watch:
    patient: _Patient
    scope: trio.CancelScope
    health: HealthView


class HealthService:
    """`run` is a task of the agent. The states are of this agent's life; a restart asks anew."""

    def __init__(self, db: Database, tasks: TaskService, clock: Clock) -> None:
        self._db = db
        self._tasks = tasks
        self._clock = clock
        self._watches: dict[Key, _Watch] = {}
        self._changed = trio.Event()

    def of(self, namespace: str, container_id: str) -> HealthView | None:
        """Return how a container fares; None where nobody asks."""
        watch = self._watches.get((namespace, container_id))
        return watch.health if watch else None

    async def get(self, namespace: str, container_id: str) -> HealthView:
        """Return how a container fares. FailedPrecondition unless it runs and has a check; NotFound."""
        if await self._db.look(lambda tx: _patient(tx, namespace, container_id)) is None:
            raise FailedPrecondition(f"container {container_id} is not running", hint="start it first")
        return self.of(namespace, container_id) or rules.first()

    async def wait_healthy(self, namespace: str, container_id: str, timeout: float) -> HealthView:
        """Return once the container is healthy. FailedPrecondition when it has no check, or has ended;
        NotFound; DeadlineExceeded after `timeout` seconds.
        """
        with trio.move_on_after(timeout):
            while True:
                changed = self._changed
                patient = await self._db.look(lambda tx: _patient(tx, namespace, container_id))
                found = self.of(namespace, container_id)
                if found is not None and found.status is HealthStatus.HEALTHY:
                    return found
                if patient is None:
                    raise FailedPrecondition(f"container {container_id} is not running")
                with trio.move_on_after(1.0):  # its end is not told here
                    await changed.wait()
        found = self.of(namespace, container_id)
        raise DeadlineExceeded(
            f"container {container_id} is not healthy after {timeout:g} s",
            why=f"it is {found.status}: {found.note}" if found else "it has not been asked yet",
        )

    async def run(self) -> None:
        """Keep one watch for each running container with a check, for ever."""
        async with trio.open_nursery() as nursery:

            async def look() -> float:
                wanted = {patient.key: patient for patient in await self._db.read(_patients)}
                for key, watch in list(self._watches.items()):
                    if key not in wanted or wanted[key].run != watch.patient.run:
                        watch.scope.cancel()
                        del self._watches[key]
                for key, patient in wanted.items():
                    if key not in self._watches:
                        watch = self._watches[key] = _Watch(patient, trio.CancelScope(), rules.first())
                        nursery.start_soon(self._watch, watch, name=f"health {'/'.join(key)}")
                self._tell()
                return float("inf")

            await at_changes(self._db, look)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _watch(self, watch: _Watch) -> None:
        patient, check = watch.patient, watch.patient.check
        with watch.scope:
            while True:
                await trio.sleep(rules.SHORTEST if watch.health.checked_at is None else self._pause(watch))
                failure = await self._probe(patient)
                now = self._clock.now()
                started = patient.task.started_at or now
                before = watch.health
                ran = (now - started).total_seconds()
                watch.health = rules.after(before, check, failure, ran=ran, now=now)
                self._tell()
                if watch.health.status is not before.status:
                    await self._tell_all(patient, watch.health)

    def _pause(self, watch: _Watch) -> float:
        return rules.pause(watch.health, watch.patient.check)

    async def _probe(self, patient: _Patient) -> str | None:
        try:
            with trio.fail_after(patient.check.timeout):
                if patient.check.exec:
                    return await self._execute(patient)
                assert patient.task.init is not None
                return await probe(patient.task.init.pid, rules.target_of(patient.check))
        except trio.TooSlowError:
            return f"no answer within {patient.check.timeout:g} s"
        except TricornError as error:
            return error.one_line()

    async def _execute(self, patient: _Patient) -> str | None:
        done = await self._tasks.exec(*patient.key, ExecRequest(patient.check.exec))
        if done.exit_code == 0:
            return None
        words = " ".join((done.stdout + done.stderr).split())[-_OUTPUT:]
        return f"{patient.check.exec[0]} ended with {done.exit_code}" + (f": {words}" if words else "")

    async def _tell_all(self, patient: _Patient, health: HealthView) -> None:
        try:
            await self._turned(patient, health)
        except TricornError as error:  # a full disk, say: the checks go on
            log.error("health not told", container=patient.key[1], error=error.one_line())

    async def _turned(self, patient: _Patient, health: HealthView) -> None:
        namespace, container_id = patient.key
        log.info(
            "health of a container changed", namespace=namespace, container=container_id,
            status=health.status, note=health.note,
        )  # fmt: skip
        event = {"container_id": container_id, "status": str(health.status), "note": health.note}
        await self._db.write(lambda tx: tx.events.publish(namespace, "/tasks/health", event), durable=False)
        if health.status is HealthStatus.UNHEALTHY and patient.check.on_unhealthy == "kill":
            with suppress(NotFound, FailedPrecondition):  # it has ended
                await self._tasks.kill(namespace, container_id, KillRequest("SIGKILL", all=True))


def check_of(container: Container) -> HealthCheck | None:
    """Return the health check that a container's request has."""
    raw = container.desired.get("health")
    return structure(raw, HealthCheck, "the stored request") if isinstance(raw, Mapping) else None


def _patients(tx: Transaction) -> list[_Patient]:
    found = (_of(tx, namespace, container) for namespace, container in tx.containers.list_with_health())
    return [patient for patient in found if patient is not None]


def _patient(tx: Transaction, namespace: str, container_id: str) -> _Patient | None:
    container = tx.containers.get(namespace, container_id)
    if check_of(container) is None:
        raise FailedPrecondition(
            f"container {container_id} has no health check",
            hint="give it one: `health` in its request, --health-cmd, --health-tcp or --health-http",
        )
    return _of(tx, namespace, container)


def _of(tx: Transaction, namespace: str, container: Container) -> _Patient | None:
    task, check = tx.tasks.find(namespace, container.id), check_of(container)
    if check is None or task is None or task.status is not TaskStatus.RUNNING or task.init is None:
        return None
    return _Patient((namespace, container.id), task, check)
