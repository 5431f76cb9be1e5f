"""One child task per live container: it waits for the end and writes it down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog
import trio
from attrs import Factory, define, evolve

from tricorn.errors import NotFound, ResourceExhausted, TricornError
from tricorn.failpoints import failpoint
from tricorn.model.records import Task, TaskStatus
from tricorn.ports import BundleRef, Created, Exit, Runtime
from tricorn.service import process_events
from tricorn.service.oom import note_kills, tell_at_exit
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
_RETRY = 1.0  # seconds
_KILLS_INTERVAL = 2.0  # seconds between two looks at the counters of kills for want of memory
_ROTATION_INTERVAL = 2.0  # seconds between two looks at the size of the logs


@define(eq=False)
class _Watch:
    ref: BundleRef
    created: Created
    seen: trio.Event = Factory(trio.Event)
    recorded: trio.Event = Factory(trio.Event)
    result: Exit | None = None
    starting: trio.Lock = Factory(trio.Lock)
    kills: int = 0


class Supervisor:
    """Watches live tasks. Containers go on without it: they are under their monitors, not under us."""

    def __init__(self, nursery: trio.Nursery, db: Database, runtime: Runtime) -> None:
        self._nursery = nursery
        self._db = db
        self._runtime = runtime
        self._watches: dict[tuple[str, str], _Watch] = {}
        self._expected: dict[tuple[str, str], trio.Event] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, db: Database, runtime: Runtime) -> AsyncIterator[Supervisor]:
        """Own the watching tasks; at the exit they detach and the containers go on."""
        async with trio.open_nursery() as nursery:
            supervisor = cls(nursery, db, runtime)
            nursery.start_soon(supervisor._rotate_logs)
            nursery.start_soon(supervisor._look_for_kills)
            try:
                yield supervisor
            finally:
                nursery.cancel_scope.cancel()

    def watch(self, ref: BundleRef, created: Created) -> None:
        """Begin to wait for the end of a task that has been recorded."""
        watch = _Watch(ref, created)
        self._watches[ref.namespace, ref.id] = watch
        self.expect_no_more(ref.namespace, ref.id)
        self._nursery.start_soon(self._watch, watch, name=f"watch {ref.namespace}/{ref.id}")

    def refresh(self, ref: BundleRef) -> None:
        """Go by other bounds of the log from now on, if the task is watched."""
        watch = self._watches.get((ref.namespace, ref.id))
        if watch:
            watch.ref = ref

    async def watched(self, namespace: str, container: str) -> None:
        """Return once a task that has no process yet is watched, or won't be."""
        await self._expected.setdefault((namespace, container), trio.Event()).wait()

    def expect_no_more(self, namespace: str, container: str) -> None:
        """Wake those who wait for a task to be watched."""
        event = self._expected.pop((namespace, container), None)
        if event is not None:
            event.set()

    def created(self, namespace: str, container: str) -> Created | None:
        """Return the processes of a live task, None if there is none."""
        watch = self._watches.get((namespace, container))
        return watch.created if watch else None

    def live(self) -> int:
        return len(self._watches)

    async def ended(self, namespace: str, container: str) -> None:
        """Return when the task's end is on record; at once if it isn't watched (any more)."""
        watch = self._watches.get((namespace, container))
        if watch:
            await watch.recorded.wait()

    @asynccontextmanager
    async def starting(self, namespace: str, container: str) -> AsyncIterator[None]:
        """While a created task is being started: its end is not recorded before its start is."""
        watch = self._watches.get((namespace, container))
        if watch is None:
            yield
            return
        async with watch.starting:
            yield

    async def result(self, namespace: str, container: str) -> Exit | None:
        """Return how a watched task ended, once it has, which may be before it is on record. None if it isn't
        watched (any more).
        """
        watch = self._watches.get((namespace, container))
        if watch is None:
            return None
        await watch.seen.wait()
        return watch.result

    def over(self, namespace: str, container: str) -> bool:
        """Return whether a task has ended, on record or not, as far as is known here."""
        watch = self._watches.get((namespace, container))
        return watch is None or watch.result is not None

    async def _watch(self, watch: _Watch) -> None:
        key = watch.ref.namespace, watch.ref.id
        try:
            result = watch.result = await self._runtime.wait(watch.ref, watch.created)
            watch.seen.set()
            failpoint("exit.seen")
            async with watch.starting:
                await self._record(key, result)
            log.info("task ended", namespace=key[0], container=key[1], code=result.code, note=result.note)
        except TricornError as error:
            log.error(
                "a task's end could not be recorded", namespace=key[0], container=key[1], error=str(error)
            )
        finally:
            if self._watches.get(key) is watch:
                del self._watches[key]
            watch.seen.set()
            watch.recorded.set()

    async def _record(self, key: tuple[str, str], result: Exit) -> None:
        """Write the end down, however long a full disk makes that take."""
        while True:
            try:
                await self._db.write(lambda tx: record_exit(tx, *key, result), durable=False)
            except ResourceExhausted as error:
                log.warning("a task's end waits for room on disk", container=key[1], error=str(error))
                await trio.sleep(_RETRY)
            else:
                return

    async def _rotate_logs(self) -> None:
        while True:
            await trio.sleep(_ROTATION_INTERVAL)
            for watch in list(self._watches.values()):
                try:
                    await self._runtime.rotate_logs(watch.ref)
                except (TricornError, OSError) as error:
                    log.warning("log not rotated", container=watch.ref.id, error=str(error))

    async def _look_for_kills(self) -> None:
        """Tell of processes that were killed for want of memory; the end of a container tells of the last."""
        while True:
            await trio.sleep(_KILLS_INTERVAL)
            watches = list(self._watches.values())
            try:
                counts = await self._runtime.oom_kills([watch.ref for watch in watches]) if watches else []
                for watch, count in zip(watches, counts, strict=True):
                    if count > watch.kills:
                        note = partial(
                            note_kills, namespace=watch.ref.namespace, container=watch.ref.id, count=count
                        )
                        await self._db.write(note, durable=False)
                        watch.kills = count
            except (TricornError, OSError) as error:
                log.warning("kills for want of memory not told", error=str(error))


def record_exit(tx: Transaction, namespace: str, container: str, result: Exit) -> Task:
    """Write a task's end and its event; a task that was removed meanwhile stays removed."""
    task = tx.tasks.find(namespace, container)
    if task is None:
        raise NotFound(f"task {container} was removed before its end was recorded")
    if task.status is TaskStatus.STOPPED:
        return task
    ended = evolve(
        task, status=TaskStatus.STOPPED, exit_code=result.code, exit_note=result.note,
        oom_killed=result.oom_killed, oom_kills=tell_at_exit(tx, namespace, task, result),
        exited_at=result.at,
    )  # fmt: skip
    tx.tasks.put(namespace, ended)
    pid = task.init.pid if task.init else 0
    tx.events.publish(namespace, "/tasks/exit", process_events.exited(container, container, pid, result))
    return ended
