"""Long work with an id: it shows its progress, can be cancelled, and may outlive the client that asked."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import islice
from typing import Any, Final, Literal, TypeVar
from uuid import uuid4

import structlog
import trio

from tricorn import limits
from tricorn.errors import AlreadyExists, Canceled, Internal, InvalidArgument, NotFound, TricornError
from tricorn.model.requests import OperationView, Progress
from tricorn.ports import Clock
from tricorn.service.exhaustion import exhausted
from tricorn.service.progress import INTERVAL, Reporter

log = structlog.get_logger(__name__)
State = Literal["running", "done", "failed", "cancelled"]
T = TypeVar("T")
_IDENTITY: Final = re.compile(r"[a-z0-9-]{8,64}")


class Operation:
    """One piece of long work. Made by `OperationService.run`, which owns its task."""

    def __init__(self, identity: str, namespace: str, kind: str, what: str, started: datetime) -> None:
        self.id = identity
        self.namespace = namespace
        self._kind = kind
        self._object = what
        self._started = started
        self._ended: datetime | None = None
        self._state: State = "running"
        self._result: Any = None
        self._error: TricornError | None = None
        self._scope = trio.CancelScope()
        self._finished = trio.Event()
        self._news: trio.Event | None = None
        self.reporter = Reporter(identity, self._wake)

    def view(self) -> OperationView:
        """Return the operation's state as clients see it."""
        return OperationView(
            id=self.id, namespace=self.namespace, kind=self._kind, object=self._object, state=self._state,
            progress=self.reporter.latest, result=self._result,
            error=self._error.problem() if self._error else None,
            started_at=self._started, ended_at=self._ended,
        )  # fmt: skip

    @property
    def running(self) -> bool:
        return self._state == "running"

    @property
    def error(self) -> TricornError | None:
        """What the work failed with, once it has."""
        return self._error

    async def wait(self) -> OperationView:
        """Return when the work has ended, whichever way."""
        await self._finished.wait()
        return self.view()

    def cancel(self) -> None:
        """Ask the work to stop; what it began is undone before it ends."""
        self._scope.cancel()

    async def progress(self) -> AsyncIterator[Progress]:
        """Yield the whole state, then what changed, and end with the work's last state.

        A line follows the one before after `INTERVAL` at the earliest; slow readers skip what lies between.
        """
        version = 0
        while True:
            done = self._finished.is_set()
            version, line = self.reporter.since(version)
            if line is not None:
                yield line
            if done:
                return
            with trio.move_on_after(INTERVAL):
                await self._finished.wait()
            if not self.reporter.moves:
                await self._change(version)

    async def _change(self, version: int) -> None:
        """Return when the work has said something, or has ended."""
        while not self._finished.is_set() and self.reporter.version <= version:
            self._news = self._news or trio.Event()
            await self._news.wait()

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None

    async def perform(self, work: Callable[[Reporter], Awaitable[T]], clock: Clock) -> T:
        """Run the work in the caller's task. Raises what the work raises, and Canceled after `cancel`."""
        try:
            return await self._within_scope(work)
        except Canceled as error:
            self._state, self._error = "cancelled", error
            raise
        except TricornError as error:
            self._state, self._error = "failed", error
            raise
        except Exception as error:
            self._state = "failed"
            self._error = exhausted(error) or Internal("the agent made a mistake", why=repr(error)[:300])
            raise
        finally:
            if self._state == "running":  # the task that ran the work was cancelled
                self._state = "cancelled"
                self._error = Canceled(f"the client of {self._kind} {self._object} left")
            self._ended = clock.now()
            self.reporter.close()
            self._finished.set()
            self._wake()

    async def _within_scope(self, work: Callable[[Reporter], Awaitable[T]]) -> T:
        with self._scope:
            result = await work(self.reporter)
            self._result, self._state = result, "done"
            return result
        raise Canceled(f"{self._kind} {self._object} was cancelled")

    async def execute(self, work: Callable[[Reporter], Awaitable[Any]], clock: Clock) -> None:
        """Run the work to its end. No failure leaves here: it becomes the operation's state."""
        try:
            await self.perform(work, clock)
        except TricornError:
            return
        except Exception as error:
            story = error if isinstance(self._error, Internal) else None
            log.error("operation crashed", operation=self.id, kind=self._kind, why=str(error), exc_info=story)


class OperationService:
    """Keeps running operations and the last finished ones. Use as an async context manager."""

    def __init__(self, nursery: trio.Nursery, clock: Clock) -> None:
        self._nursery = nursery
        self._clock = clock
        self._operations: OrderedDict[str, Operation] = OrderedDict()

    @classmethod
    @asynccontextmanager
    async def open(cls, clock: Clock) -> AsyncIterator[OperationService]:
        """Own the operations' tasks. At the exit running work gets a deadline, then is cancelled."""
        async with trio.open_nursery() as nursery:
            service = cls(nursery, clock)
            try:
                yield service
            finally:
                nursery.cancel_scope.deadline = trio.current_time() + limits.DRAIN_DEADLINE

    def run(
        self, namespace: str, kind: str, what: str, work: Callable[[Reporter], Awaitable[Any]]
    ) -> Operation:
        """Start `work` as an operation and return at once."""
        operation = self._add(namespace, kind, what, "")
        self._nursery.start_soon(operation.execute, work, self._clock, name=f"{kind} {what}")
        return operation

    async def attend(
        self,
        namespace: str,
        kind: str,
        what: str,
        work: Callable[[Reporter], Awaitable[T]],
        *,
        identity: str = "",
    ) -> T:
        """Run `work` in the caller's task, seen and cancellable as an operation, which ends with the caller.

        Clients that want to watch from the start give it an `identity`. Raises what the work raises,
        Canceled; AlreadyExists for an identity that is taken, InvalidArgument for a malformed one.
        """
        return await self._add(namespace, kind, what, identity).perform(work, self._clock)

    def _add(self, namespace: str, kind: str, what: str, identity: str) -> Operation:
        if identity and not _IDENTITY.fullmatch(identity):
            raise InvalidArgument(
                "an operation's id has 8 to 64 small letters, digits and dashes", field="operation"
            )
        if identity in self._operations:
            raise AlreadyExists(f"operation {identity} exists")
        operation = Operation(identity or uuid4().hex[:16], namespace, kind, what, self._clock.now())
        self._operations[operation.id] = operation
        self._forget_old()
        return operation

    def list(self, namespace: str) -> list[OperationView]:
        """Return the namespace's operations, the oldest first."""
        return [item.view() for item in self._operations.values() if item.namespace == namespace]

    def get(self, namespace: str, identity: str) -> Operation:
        """Return one operation; NotFound if it is unknown or long gone."""
        operation = self._operations.get(identity)
        if operation is None or operation.namespace != namespace:
            raise NotFound(f"operation {identity!r} is unknown", hint="ended ones are kept for a while only")
        return operation

    def running(self) -> int:
        """Return how many are under way."""
        return sum(1 for item in self._operations.values() if item.running)

    def _forget_old(self) -> None:
        surplus = len(self._operations) - limits.OPERATIONS_KEPT
        if surplus > 0:
            ended = (key for key, item in self._operations.items() if not item.running)
            for key in list(islice(ended, surplus)):
                del self._operations[key]
