"""Long work with an id: it shows its progress, can be cancelled, and may outlive the client that asked."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal
from uuid import uuid4

import structlog
import trio
from attrs import evolve

from tricorn import limits
from tricorn.errors import Canceled, Internal, NotFound, TricornError
from tricorn.model.requests import LayerProgress, OperationView, Progress
from tricorn.ports import Clock

log = structlog.get_logger(__name__)
State = Literal["running", "done", "failed", "cancelled"]
_RATE_WINDOW = 2.0  # seconds over which the rate is averaged


class Reporter:
    """Takes what the work says of itself; cheap enough for every buffer of a download."""

    def __init__(self, operation: str, publish: Callable[[Progress], None]) -> None:
        self._publish = publish
        self._rate = _Rate()
        self.latest = Progress(operation=operation, phase="started")

    def report(
        self,
        phase: str,
        message: str = "",
        *,
        layers: Sequence[LayerProgress] | None = None,
        offset: int = 0,
        total: int = 0,
    ) -> None:
        """Publish the state of the work; `offset` of `total` bytes are done."""
        if layers is not None:
            offset = sum(layer.offset for layer in layers)
            total = sum(layer.total for layer in layers)
        rate = self._rate.at(offset)
        self.latest = evolve(
            self.latest, phase=phase, message=message, offset=offset, total=total, rate=rate,
            eta=(total - offset) / rate if rate > 0 and total >= offset else None,
            layers=tuple(layers) if layers is not None else self.latest.layers,
        )  # fmt: skip
        self._publish(self.latest)


class _Rate:
    """Bytes per second, smoothed exponentially over the last moments."""

    def __init__(self) -> None:
        self._last = (time.monotonic(), 0)
        self._rate = 0.0

    def at(self, offset: int) -> float:
        now = time.monotonic()
        then, before = self._last
        elapsed = now - then
        if elapsed >= 0.05 and offset >= before:
            weight = 1 - math.exp(-elapsed / _RATE_WINDOW)
            current = (offset - before) / elapsed
            self._rate = current if before == 0 else self._rate + weight * (current - self._rate)
            self._last = (now, offset)
        return round(self._rate, 1)


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
        self._news = trio.Event()
        self.reporter = Reporter(identity, self._publish)

    def view(self) -> OperationView:
        """Return the operation's state as clients see it."""
        return OperationView(
            id=self.id, namespace=self.namespace, kind=self._kind, object=self._object, state=self._state,
            progress=self.reporter.latest, result=self._result,
            error=self._error.problem() if self._error else None,
            started_at=self._started, ended_at=self._ended,
        )  # fmt: skip

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
        """Yield the latest progress whenever it changed, and end with the work. Slow readers skip."""
        seen: Progress | None = None
        while True:
            news, done = self._news, self._finished.is_set()
            if self.reporter.latest is not seen:
                seen = self.reporter.latest
                yield seen
            elif done:
                return
            else:
                await news.wait()

    def _publish(self, _: Progress) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    async def execute(self, work: Callable[[Reporter], Awaitable[Any]], clock: Clock) -> None:
        """Run the work to its end. No failure leaves here: it becomes the operation's state."""
        try:
            with self._scope:
                self._result = await work(self.reporter)
                self._state = "done"
        except TricornError as error:
            self._state, self._error = "failed", error
        except Exception as error:
            log.exception("operation crashed", operation=self.id, kind=self._kind)
            self._state, self._error = "failed", Internal("the agent made a mistake", why=repr(error)[:300])
        if self._state == "running":
            self._state, self._error = "cancelled", Canceled(f"{self._kind} {self._object} was cancelled")
        self._ended = clock.now()
        self._finished.set()
        self._publish(self.reporter.latest)


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
        operation = Operation(uuid4().hex[:16], namespace, kind, what, self._clock.now())
        self._operations[operation.id] = operation
        self._forget_old()
        self._nursery.start_soon(operation.execute, work, self._clock, name=f"{kind} {what}")
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
        return sum(1 for item in self._operations.values() if item.view().state == "running")

    def _forget_old(self) -> None:
        ended = [key for key, item in self._operations.items() if item.view().state != "running"]
        for key in ended[: max(0, len(self._operations) - limits.OPERATIONS_KEPT)]:
            del self._operations[key]
