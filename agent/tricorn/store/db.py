"""The database: `write` and `read` run a function on a `Transaction`, off the loop."""

from __future__ import annotations

import collections
import contextlib
import os
import resource
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final, TypeVar, cast

import structlog
import trio

from tricorn import limits
from tricorn.errors import TricornError, Unavailable
from tricorn.failpoints import failpoint
from tricorn.model.usage import BudgetRule
from tricorn.ports import Clock
from tricorn.store.codec import to_microseconds
from tricorn.store.connection import connect, prepare, sqlite_errors, unmark
from tricorn.store.flushes import Flushes
from tricorn.store.transaction import Transaction
from tricorn.store.writer import Job, Writer

log = structlog.get_logger(__name__)
T = TypeVar("T")

_QUEUE: Final = 1024
_READERS: Final = 4
_SLOW: Final = 0.005  # seconds that a look may take, unless what it needed was in memory
_SLOW_LOOKS: Final = 3  # so many of them within the time …
_SLOW_SECONDS: Final = 10.0  # … send the following ones to the threads, for as long
_COUNTED: Final = ("writes", "failed_writes", "batches", "largest_batch", "reads", "looks", "slow_looks")


class Signal:
    """Wakes all who wait, each time it is fired."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = trio.Event()

    def fire(self) -> None:
        self._event.set()
        self._event = trio.Event()

    async def wait(self) -> None:
        await self._event.wait()


class Database:
    """SQLite with one writing thread (group commit) and a few readers. Made by `open` only.

    `mutations` and `deletions` count committed changes, and those that may have freed something, since
    the database was opened; `changed` fires after commits that had any.
    """

    def __init__(
        self,
        path: str,
        connection: sqlite3.Connection,
        clock: Clock,
        budget_rules: Sequence[BudgetRule] = (),
    ) -> None:
        self.path = path
        self.clock = clock
        self._budget_rules = budget_rules
        self.mutations = 0
        self.deletions = 0
        self.changed = Signal()
        self._committed = Signal()
        self._newest = Transaction(connection, clock.now()).events.newest()
        self._closing = False
        self._slots = trio.Semaphore(_QUEUE)
        self._readers = trio.CapacityLimiter(_READERS)
        self._idle: collections.deque[sqlite3.Connection] = collections.deque()
        self._counts: collections.Counter[str] = collections.Counter()
        self._near: Transaction | None = None
        self._slow: collections.deque[float] = collections.deque(maxlen=_SLOW_LOOKS)
        self._writer = Writer(path, connection, clock, self._deliver, budget_rules)
        self._flushes = Flushes(self._writer.submit)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, path: str, clock: Clock, budget_rules: Sequence[BudgetRule] = ()
    ) -> AsyncIterator[Database]:
        """Open `path` (made if missing, mode 0600) for the length of the context; changes are held to the
        budgets that `budget_rules` and the labels of namespaces make.

        After an unclean stop it is checked first: DataLoss if damaged. FailedPrecondition if its schema
        is newer than this agent. One process at a time: the caller holds the lock on the root directory.
        """
        connection = await trio.to_thread.run_sync(prepare, path)
        database = cls(path, connection, clock, budget_rules)
        try:
            yield database
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
                await database._close(connection)

    async def _close(self, connection: sqlite3.Connection) -> None:
        self._closing = True
        await self._writer.close()
        await trio.to_thread.run_sync(self._close_connections, connection)

    def _close_connections(self, connection: sqlite3.Connection) -> None:
        while self._idle:
            self._idle.popleft().close()
        self._drop_near()
        with sqlite_errors("the database could not be closed in order"):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.close()
        unmark(self.path)

    async def write(self, function: Callable[[Transaction], T], *, durable: bool = True) -> T:
        """Run `function` in the writing thread; return its result once it is on disk.

        A change that isn't `durable` outlives the agent at once, but the machine only with the next one that
        is, never without those before it: for what means nothing after a loss of power (processes), and for
        announcements of changes whose leftovers a start sweeps away. What files are deleted for is durable.

        What it raises undoes its own changes only, and is raised here. It shares a commit with whatever
        waits beside it, so it must be short and free of other I/O. Cancellation is heard while waiting
        for room in the queue; after that the change completes, its result is returned, and the
        cancellation is delivered at the caller's next checkpoint. ResourceExhausted on a full disk,
        Unavailable once the database closes.
        """
        async with self._slots:
            if self._closing:
                raise Unavailable("the database is closing")
            job = Job(function, durable, trio.lowlevel.current_task())
            if durable or not self._write_here(job):
                self._writer.submit(job)
                result = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
            else:
                assert job.result is not None
                result = job.result.unwrap()
        failpoint("db.committed")
        return cast("T", result)

    async def write_soon(self, function: Callable[[Transaction], T]) -> T:
        """As `write`, but return before the change is on disk, where it is to be as soon as the disk can:
        a loss of power right after this may undo it, with all that was written since. Who goes on to do
        what can't be undone so (starts a process, deletes files) waits for `flushed` first.
        """
        result = await self.write(function, durable=False)
        self._flushes.note()
        return result

    async def flushed(self) -> None:
        """Wait until all that `write_soon` has answered is on disk. Internal if it can't be brought there."""
        if self._closing:
            raise Unavailable("the database is closing")
        await self._flushes.wait()

    def _write_here(self, job: Job) -> bool:
        """Make a change that needs no flush on the loop, which is done in a third of the time that a thread
        needs to hear of it; False while that turned out slow, or while others write.
        """
        if self._near_is_slow():
            return False
        with self._watched(_sleeps):
            if not self._writer.run_now(job):
                return False
        self._settle([job])
        return True

    async def read(self, function: Callable[[Transaction], T]) -> T:
        """Run `function` on a snapshot that includes every write that has returned; it can't write."""
        if self._closing:
            raise Unavailable("the database is closing")
        self._counts["reads"] += 1
        return await trio.to_thread.run_sync(self._read, function, limiter=self._readers)

    async def look(self, function: Callable[[Transaction], T]) -> T:
        """As `read`, for a few rows by their keys, read here and now: a thread would cost five times as much.

        Such rows are in memory as the agent's own code is, since the log and the index above them are read
        all the time. Where that isn't so and looks turn out slow, threads have them for a while.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closing or self._near_is_slow():
            return await self.read(function)
        self._counts["looks"] += 1
        try:
            with self._watched(_blocks_read):
                return self._look(function)
        except Unavailable:  # the file is locked for a moment, which a thread can wait for
            return await self.read(function)

    def _near_is_slow(self) -> bool:
        """Whether the loop should leave the file to the threads for now."""
        return len(self._slow) == _SLOW_LOOKS and time.monotonic() - self._slow[0] < _SLOW_SECONDS

    @contextlib.contextmanager
    def _watched(self, waits: Callable[[], int]) -> Iterator[None]:
        """Note when what is done here was slow, and that for one of the reasons that `waits` counts."""
        began, before = time.monotonic(), waits()
        try:
            yield
        finally:
            # what only waited for its turn on a busy machine would wait for it in a thread, too
            if (ended := time.monotonic()) - began > _SLOW and waits() > before:
                self._counts["slow_looks"] += 1
                self._slow.append(ended)

    def _look(self, function: Callable[[Transaction], T]) -> T:
        with sqlite_errors("the database could not be read"):
            near = self._near or self._make_near()
            near.session.now = to_microseconds(self.clock.now())
            try:
                near.session.connection.execute("BEGIN")
                result = function(near)
                near.session.connection.execute("COMMIT")
            except TricornError:
                near.session.connection.execute("ROLLBACK")
                raise
            except BaseException:
                self._drop_near()  # no state of a failed read can leak into the next
                raise
        return result

    def _make_near(self) -> Transaction:
        connection = connect(self.path, read_only=True)
        connection.execute("PRAGMA busy_timeout=0")  # the loop doesn't wait
        self._near = Transaction(connection, self.clock.now(), self._budget_rules)
        return self._near

    def _drop_near(self) -> None:
        if self._near is not None:
            self._near.session.connection.close()
            self._near = None

    def _read(self, function: Callable[[Transaction], T]) -> T:
        with sqlite_errors("the database could not be read"):
            connection = self._reader()
            try:
                connection.execute("BEGIN")
                result = function(Transaction(connection, self.clock.now(), self._budget_rules))
                connection.execute("COMMIT")
            except BaseException:
                connection.close()  # no state of a failed read can leak into the next
                raise
        self._idle.append(connection)
        return result

    def _reader(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return connect(self.path, read_only=True)

    def _deliver(self, batch: list[Job]) -> None:
        """Wake the callers of a batch that is on disk; runs in the loop's thread."""
        for job in batch:
            assert job.result is not None
            if job.task:
                trio.lowlevel.reschedule(job.task, job.result)
            else:
                self._flushes.ended(job)
        if changes := [job for job in batch if job.function]:
            self._settle(changes)

    def _settle(self, batch: list[Job]) -> None:
        """Count what a batch changed, and tell who waits for changes."""
        self._counts["batches"] += 1
        self._counts["largest_batch"] = max(self._counts["largest_batch"], len(batch))
        newest, mutations = self._newest, self.mutations
        for job in batch:
            self._account(job)
        if self._newest > newest:
            self._committed.fire()
        if self.mutations > mutations:
            self.changed.fire()

    def _account(self, job: Job) -> None:
        self._counts["writes"] += 1
        if not job.succeeded or job.session is None:
            self._counts["failed_writes"] += 1
            return
        self._newest = max(self._newest, job.session.published)
        self.deletions += job.session.deletions
        self.mutations += 1 if job.session.mutations else 0

    @property
    def newest(self) -> int:
        """The sequence of the last event on disk."""
        return self._newest

    async def wait_beyond(self, sequence: int) -> int:
        """Wait until an event with a sequence beyond `sequence` is on disk; return the newest one."""
        while self._newest <= sequence:
            await self._committed.wait()
        return self._newest

    def statistics(self) -> dict[str, Any]:
        """Return figures for people and metrics: counts since the start, sizes in bytes."""
        return {name: self._counts[name] for name in _COUNTED} | {
            "waiting": self._writer.waiting,
            "readers_idle": len(self._idle),
            "newest_event": self._newest,
            "database_bytes": _size(self.path),
            "log_bytes": _size(self.path + "-wal"),
        }


def _blocks_read() -> int:
    """Return how often this thread had to wait for what is read from the disk."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_inblock


def _sleeps() -> int:
    """Return how often this thread had to wait for anything but its turn."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
