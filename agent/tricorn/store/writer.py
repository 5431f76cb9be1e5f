"""The one thread that writes. Whatever waits when it is free shares one COMMIT, hence one fsync; none if
nothing of it has to outlive a loss of power. Such a change may be made by the loop, while the thread is idle,
and flushed by the thread behind the answer.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import outcome
import structlog
import trio
from attrs import define

from tricorn.errors import Internal
from tricorn.failpoints import failpoint
from tricorn.model.usage import BudgetRule
from tricorn.ports import Clock
from tricorn.store.connection import typed
from tricorn.store.log_reserve import LogReserve
from tricorn.store.session import Session
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)

_BATCH: Final = 256
_CHECKPOINT_COMMITS: Final = 200
_FAILED: Final = "the change could not be stored"


@define(eq=False)
class Job:
    """One function of a caller that waits for `result`; `session` tells what it changed. Without a function
    it is to flush what was committed before it, and no task waits for it.
    """

    function: Callable[[Transaction], Any] | None
    durable: bool = True
    task: trio.lowlevel.Task | None = None
    result: outcome.Outcome[Any] | None = None
    session: Session | None = None

    @property
    def succeeded(self) -> bool:
        return isinstance(self.result, outcome.Value)


class Writer:
    """Runs jobs in the order of `submit`, in a thread of its own, and hands them back to the loop by
    `deliver(batch)` once they are committed. Started and closed from the loop's thread.
    """

    def __init__(
        self,
        path: str,
        connection: sqlite3.Connection,
        clock: Clock,
        deliver: Callable[[list[Job]], None],
        budget_rules: Sequence[BudgetRule] = (),
    ) -> None:
        self._log = f"{path}-wal"
        self._reserve = LogReserve(self._log)
        self._connection = connection
        self._budget_rules = budget_rules
        self._clock = clock
        self._deliver = deliver
        self._token = trio.lowlevel.current_trio_token()
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._commits = 0
        self._synchronous = True  # as the connection was opened
        self._turn = threading.Lock()  # held by who uses the connection
        self._thread = threading.Thread(target=self._run, name="tricorn-db-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job; the number in flight is the caller's to bound."""
        self._queue.put(job)

    def run_now(self, job: Job) -> bool:
        """Run a job here, before this returns, if nobody else writes or waits to; else False. Moving the
        log into the database is for the thread.
        """
        if self.waiting or self._commits >= _CHECKPOINT_COMMITS or not self._turn.acquire(blocking=False):
            return False
        try:
            self._execute([job])
            self._commits += 1
        finally:
            self._turn.release()
        return True

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    async def close(self) -> None:
        """Finish what was submitted, then end the thread."""
        self._queue.put(None)
        await trio.to_thread.run_sync(self._thread.join)

    def _run(self) -> None:
        closing = False
        self._reserve.renew()
        while not closing:
            batch, closing = self._next_batch()
            if batch:
                changes = [job for job in batch if job.function]
                if changes:
                    with self._turn:
                        self._execute(changes)
                if len(changes) < len(batch):
                    self._flush([job for job in batch if not job.function])
                with contextlib.suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(self._deliver, batch)
                with self._turn:
                    self._checkpoint()
                self._reserve.renew()

    def _next_batch(self) -> tuple[list[Job], bool]:
        batch: list[Job] = []
        try:
            item = self._queue.get()
            while item is not None:
                batch.append(item)
                if len(batch) == _BATCH:
                    return batch, False
                item = self._queue.get_nowait()
        except queue.Empty:
            return batch, False
        return batch, True

    def _execute(self, batch: list[Job]) -> None:
        """Run a batch in one transaction. If that is lost, so is every job that had succeeded in it."""
        try:
            self._be_synchronous(any(job.durable for job in batch))
            self._connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._run_job(job)
            self._trim(batch)
            failpoint("db.commit")
            self._connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - handed to the callers, the thread must live
            log.warning("transaction lost", jobs=len(batch), error=str(error))
            self._roll_back()
            for job in batch:
                if job.result is None or job.succeeded:
                    job.result = outcome.Error(_own_error(error))

    def _flush(self, jobs: list[Job]) -> None:
        """Have what has been committed on disk. Nobody is kept from committing more meanwhile."""
        try:
            failpoint("db.flush")
            with contextlib.suppress(FileNotFoundError), open(self._log, "rb") as file:
                os.fdatasync(file.fileno())
        except BaseException as error:  # noqa: BLE001 - handed to the callers, the thread must live
            log.error("committed changes could not be flushed", error=str(error))
            for job in jobs:
                job.result = outcome.Error(_own_error(error))
        else:
            for job in jobs:
                job.result = outcome.Value(None)

    def _be_synchronous(self, wanted: bool) -> None:
        """Have the next commit flush the log, or leave that to the one after it: commits keep their order."""
        if wanted is not self._synchronous:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if wanted else 'NORMAL'}")
            self._synchronous = wanted

    def _run_job(self, job: Job) -> None:
        self._connection.execute("SAVEPOINT job")
        transaction = Transaction(self._connection, self._clock.now(), self._budget_rules)
        assert job.function is not None, "a job without one is a flush"
        try:
            value = job.function(transaction)
        except BaseException as error:
            if not self._connection.in_transaction:  # a full disk makes SQLite roll back all of it
                raise
            self._connection.execute("ROLLBACK TO job")
            self._connection.execute("RELEASE job")
            job.result = outcome.Error(typed(error, _FAILED) if isinstance(error, sqlite3.Error) else error)
        else:
            self._connection.execute("RELEASE job")
            job.result = outcome.Value(value)
            job.session = transaction.session

    def _trim(self, batch: list[Job]) -> None:
        if any(job.session and job.session.published for job in batch):
            Transaction(self._connection, self._clock.now()).events.trim()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                log.warning("rollback failed", error=str(error))

    def _checkpoint(self) -> None:
        """Move the log into the database now and then, after the callers have their answers."""
        self._commits += 1
        if self._commits >= _CHECKPOINT_COMMITS:
            self._commits = 0
            try:
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except sqlite3.Error as error:
                log.warning("checkpoint failed", error=str(error))


def _own_error(error: BaseException) -> BaseException:
    """Return an error for one caller: a raised exception must not be shared among tasks."""
    if isinstance(error, sqlite3.Error):
        return typed(error, _FAILED)
    return Internal(_FAILED, why=str(error) or type(error).__name__)
