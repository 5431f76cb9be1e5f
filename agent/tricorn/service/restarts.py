"""Starts containers again as their policies want it, and gives them the status that a client's label names.

Driven by the journal: whatever is written makes it look again, a fifth of a second later at most, at the
containers that have a policy; between changes it sleeps until the next attempt is due.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import structlog
import trio
from attrs import frozen

from tricorn.errors import NotFound, TricornError
from tricorn.model.health import HealthStatus
from tricorn.model.records import Container, Task, TaskStatus
from tricorn.model.stdio import NULL_STDIO, Stdio
from tricorn.ports import Clock
from tricorn.rules.order import Key, Order, after
from tricorn.rules.restarts import (
    CLIENTS_TURN,
    LONGEST_PAUSE,
    Decision,
    Verb,
    Wish,
    decide,
    labels_of_start,
    wish_of,
)
from tricorn.service.changes import at_changes
from tricorn.service.lifecycle import Lifecycle
from tricorn.service.processes import ProcessService
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
_SIGKILL: Final = 9
_AT_ONCE: Final = 4  # containers being started again
_BUSY: Final = 1.0  # seconds between looks at those
_PATIENCE: Final = 60.0  # seconds that others wait for a container to become healthy


@frozen
class _Candidate:
    key: Key
    container: Container
    task: Task | None
    wish: Wish


class Restarter:
    """`run` is a task of the agent, from when recovery has ended."""

    def __init__(
        self, db: Database, lifecycle: Lifecycle, processes: ProcessService, clock: Clock, boot_id: str
    ) -> None:
        self._db = db
        self._lifecycle = lifecycle
        self._processes = processes
        self._clock = clock
        self._boot_id = boot_id
        self._slots = trio.Semaphore(_AT_ONCE)
        self._busy: set[Key] = set()
        self._failures: dict[Key, tuple[int, float]] = {}  # attempts that failed, and when the next may be
        self._alone: dict[Key, float] | None = None  # clients' containers without a task, since when
        self.restarts = 0
        self.held = False
        self._done = trio.Event()

    async def hold(self) -> None:
        """Start nothing any more until `release`; what is being started is waited for."""
        self.held = True
        while self._busy:
            self._done = trio.Event()
            await self._done.wait()

    def release(self) -> None:
        """Go by the policies again."""
        self.held = False

    async def run(self) -> None:
        """Keep to the policies for ever."""
        async with trio.open_nursery() as nursery:

            async def look() -> float:
                return self._act(await self._candidates(), nursery)

            await at_changes(self._db, look)

    def statistics(self) -> dict[str, int]:
        return {"done": self.restarts, "under_way": len(self._busy)}

    async def _candidates(self) -> list[_Candidate]:
        def read(tx: Transaction) -> list[_Candidate]:
            return [
                _Candidate((namespace, item.id), item, tx.tasks.find(namespace, item.id), wish)
                for namespace, item in tx.containers.list_restartable()
                if (wish := wish_of(item)) is not None
            ]

        found = await self._db.read(read)
        known = {candidate.key for candidate in found}
        self._failures = {key: value for key, value in self._failures.items() if key in known}
        return found

    def _act(self, candidates: Sequence[_Candidate], nursery: trio.Nursery) -> float:
        """Begin what is due; return the seconds until something else may be."""
        if self.held:
            return _BUSY
        self._note_alone(candidates)
        soonest = float("inf")
        decisions = {
            item.key: decide(item.wish, item.task, self._boot_id, self._clock.now()) for item in candidates
        }
        order = self._order(candidates, decisions)
        for item in candidates:
            if item.key in self._busy:  # it may fail, which nothing but another look tells
                soonest = min(soonest, _BUSY)
                continue
            decision = decisions[item.key]
            if decision.verb is Verb.LEAVE:
                continue
            left = self._seconds_until(item.key, decision)
            if left <= 0 and decision.verb is Verb.START and order.waits(item.key):
                soonest = min(soonest, _BUSY)
            elif left <= 0:
                self._busy.add(item.key)
                nursery.start_soon(self._carry_out, item.key, name=f"restart {'/'.join(item.key)}")
                soonest = min(soonest, _BUSY)
            else:
                soonest = min(soonest, left)
        return soonest

    def _note_alone(self, candidates: Sequence[_Candidate]) -> None:
        """Note which containers of clients have no task. Clients make it right after the container, or after
        they have deleted an earlier one: whoever was faster would have their call fail. At the first look of
        this agent nobody is in the middle of that.
        """
        since = float("-inf") if self._alone is None else trio.current_time()
        before = self._alone or {}
        self._alone = {
            item.key: before.get(item.key, since)
            for item in candidates
            if item.task is None and item.wish.wanted
        }

    def _order(self, candidates: Sequence[_Candidate], decisions: Mapping[Key, Decision]) -> Order:
        """Return who has to wait: for those that are being started now, and those that aren't healthy yet."""
        needs = {item.key: after(item.key[0], item.container) for item in candidates}
        coming = {
            item.key
            for item in candidates
            if item.key in self._busy
            or (
                decisions[item.key].verb is Verb.START
                and item.key not in self._failures
                and self._seconds_until(item.key, decisions[item.key]) <= 0
            )
        }
        named = {other for others in needs.values() for other in others}
        ailing = {item.key for item in candidates if item.key in named and self._is_not_well_yet(item)}
        return Order(needs, coming, ailing)

    def _is_not_well_yet(self, item: _Candidate) -> bool:
        """Whether a container with a health check has been started a moment ago, and isn't healthy so far."""
        task = item.task
        if task is None or task.status is not TaskStatus.RUNNING or not item.container.desired.get("health"):
            return False
        health = self._lifecycle.health_of(*item.key)
        if health is not None and health.status is not HealthStatus.STARTING:
            return False
        started = task.started_at or self._clock.now()
        return (self._clock.now() - started).total_seconds() < _PATIENCE

    def _seconds_until(self, key: Key, decision: Decision) -> float:
        due = (decision.due - self._clock.now()).total_seconds() if decision.due else 0.0
        _, allowed = self._failures.get(key, (0, 0.0))
        turn = (self._alone or {}).get(key, float("-inf")) + CLIENTS_TURN
        return max(due, max(allowed, turn) - trio.current_time())

    async def _carry_out(self, key: Key) -> None:
        """Start or stop one container, if that is still what is wanted once its lock is held."""
        try:
            async with self._slots:
                await self._settle(*key)
            self._failures.pop(key, None)
        except NotFound:
            pass  # removed meanwhile
        except TricornError as error:
            count = self._failures.get(key, (0, 0.0))[0] + 1
            wait = min(2.0**count, LONGEST_PAUSE)
            self._failures[key] = count, trio.current_time() + wait
            log.warning(
                "container not started again", namespace=key[0], container=key[1],
                error=error.one_line(), next_attempt_in=wait,
            )  # fmt: skip
        except Exception:
            self._failures[key] = 1, trio.current_time() + LONGEST_PAUSE
            log.exception("container not started again", namespace=key[0], container=key[1])
        finally:
            self._busy.discard(key)
            self._done.set()

    async def _settle(self, namespace: str, container_id: str) -> None:
        container, task = await self._lifecycle.records(namespace, container_id)
        wish = wish_of(container)
        if wish is None or self.held:
            return
        decision = decide(wish, task, self._boot_id, self._clock.now())
        if decision.verb is Verb.STOP:
            await self._stop(namespace, container_id)
        elif decision.verb is Verb.START:
            await (self._start_own if container.desired else self._start_clients)(
                namespace, container, task, wish, decision
            )

    async def _start_own(
        self, namespace: str, container: Container, task: Task | None, wish: Wish, decision: Decision
    ) -> None:
        async with self._lifecycle.locks.hold(namespace, container.id):
            now, task = await self._lifecycle.records(namespace, container.id)
            if wish_of(now) != wish or decide(wish, task, self._boot_id, self._clock.now()) != decision:
                return  # a hand was faster
            await self._note(namespace, container.id, decision)
            await self._lifecycle.start(namespace, container.id)
        self._tell(namespace, container.id, task, decision)

    async def _start_clients(
        self, namespace: str, container: Container, task: Task | None, wish: Wish, decision: Decision
    ) -> None:
        """As containerd's monitor does it: a new task, its output where the label says."""
        if task is not None:
            await self._processes.delete(namespace, container.id)
        await self._note(namespace, container.id, decision)
        stdio = Stdio(stdout=wish.log_uri, stderr=wish.log_uri) if wish.log_uri else NULL_STDIO
        await self._processes.create(namespace, container.id, stdio=stdio, by_policy=True)
        await self._processes.start(namespace, container.id)
        self._tell(namespace, container.id, task, decision)

    async def _stop(self, namespace: str, container_id: str) -> None:
        await self._processes.kill(namespace, container_id, _SIGKILL, all=True)
        await self._processes.wait(namespace, container_id)
        await self._processes.delete(namespace, container_id)
        log.info("container stopped, as its label wants it", namespace=namespace, container=container_id)

    async def _note(self, namespace: str, container_id: str, decision: Decision) -> None:
        labels = labels_of_start(decision.count)
        await self._db.write(lambda tx: tx.containers.update(namespace, container_id, labels=labels))

    def _tell(self, namespace: str, container_id: str, task: Task | None, decision: Decision) -> None:
        self.restarts += 1
        log.info(
            "container started again", namespace=namespace, container=container_id, attempt=decision.count,
            exit_code=task.exit_code if task else None,
        )  # fmt: skip
