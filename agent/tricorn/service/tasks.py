"""Use cases on a container's running side: start, stop, signals, exec, attach, logs, figures."""

from __future__ import annotations

import signal as signals
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import uuid4

import structlog
import trio
from attrs import evolve

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound
from tricorn.model.records import Container, Task, TaskStatus
from tricorn.model.requests import (
    ContainerView,
    ExecRequest,
    ExecResult,
    ExitView,
    KillRequest,
    LogLine,
    StopRequest,
)
from tricorn.model.stdio import Stdio
from tricorn.ports import BundleRef, ExecSession, Runtime, StdioStream
from tricorn.service import process_events
from tricorn.service.lifecycle import ALIVE, Lifecycle
from tricorn.service.nurseries import typed_nursery
from tricorn.service.specs import SpecFactory
from tricorn.service.views import container_view, exit_view
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
_TIMED_OUT = 124  # as timeout(1) exits
_KILL_GRACE = 10.0  # seconds a SIGKILL may take to show


class TaskService:
    """Verbs on containers. Those that change state hold the container's lock while they do."""

    def __init__(self, db: Database, runtime: Runtime, lifecycle: Lifecycle, specs: SpecFactory) -> None:
        self._db = db
        self._runtime = runtime
        self._lifecycle = lifecycle
        self._specs = specs

    async def start(self, namespace: str, container_id: str) -> ContainerView:
        """Start a container; one that runs is left alone."""
        async with self._lifecycle.locks.hold(namespace, container_id):
            await self._require_open(namespace, container_id)
            await self._lifecycle.note_hand(namespace, container_id, stopped=False)
            await self._lifecycle.start(namespace, container_id)
        return await self._view(namespace, container_id)

    async def _require_open(self, namespace: str, container_id: str) -> None:
        """Raise FailedPrecondition if a start would be one more on a cordoned node."""
        _, task = await self._lifecycle.records(namespace, container_id)
        if task is None or task.status not in {TaskStatus.RUNNING, TaskStatus.PAUSED}:
            self._lifecycle.cordon.require_open(f"the start of container {container_id}")

    async def stop(
        self, namespace: str, container_id: str, request: StopRequest, *, by_hand: bool = True
    ) -> ContainerView:
        """Ask a container to end and kill it when its time is up; one that has ended is left alone. One that
        isn't stopped `by_hand` may be started again by its restart policy.
        """
        async with self._lifecycle.locks.hold(namespace, container_id):
            await self.stop_held(namespace, container_id, request, by_hand=by_hand)
        return await self._view(namespace, container_id)

    async def restart(self, namespace: str, container_id: str, request: StopRequest) -> ContainerView:
        """Stop a container as `stop` does, if it runs, and start it again; nobody else has a say in between.
        FailedPrecondition on a cordoned node, before anything is stopped.

        Who gives up meanwhile may find it stopped, unless a restart policy wants it back.
        """
        async with self._lifecycle.locks.hold(namespace, container_id):
            self._lifecycle.cordon.require_open(f"the restart of container {container_id}")
            await self.stop_held(namespace, container_id, request, by_hand=False)
            await self._lifecycle.note_hand(namespace, container_id, stopped=False)
            await self._lifecycle.start(namespace, container_id)
        return await self._view(namespace, container_id)

    async def stop_held(
        self, namespace: str, container_id: str, request: StopRequest, *, by_hand: bool = True
    ) -> None:
        """Stop, for callers that hold the container's lock."""
        container, task = await self._lifecycle.records(namespace, container_id)
        if by_hand:  # noted before its end is seen
            await self._lifecycle.note_hand(namespace, container_id, stopped=True)
        if task is None or task.status not in ALIVE:
            return
        ref = self._lifecycle.bundles.ref(namespace, container, task)
        wanted = container.desired.get("stop_signal") or _labelled_signal(container) or "SIGTERM"
        default = float(container.desired.get("stop_timeout", 10.0))
        timeout = default if request.timeout is None else request.timeout
        if task.status is TaskStatus.CREATED:
            timeout = 0.0  # nothing runs yet that could hear a signal
        if timeout > 0 and await self._signal_and_wait(ref, task, signal_number(wanted), timeout):
            return
        if not await self._signal_and_wait(ref, task, signals.SIGKILL, _KILL_GRACE):
            await self._lifecycle.end(namespace, container_id)

    async def _signal_and_wait(self, ref: BundleRef, task: Task, signal: int, timeout: float) -> bool:
        try:
            if task.init:
                await self._runtime.kill(ref, task.init, signal, all=signal == signals.SIGKILL)
        except NotFound:
            pass  # it has just ended
        with trio.move_on_after(timeout):
            await self._lifecycle.supervisor.ended(ref.namespace, ref.id)
            return True
        return False

    async def kill(self, namespace: str, container_id: str, request: KillRequest) -> None:
        """Send a signal to the container's first process, or to all of them."""
        signal = signal_number(request.signal)
        ref, _, task = await self._lifecycle.live(namespace, container_id)
        if task.init:
            await self._runtime.kill(ref, task.init, signal, all=request.all)

    async def pause(self, namespace: str, container_id: str) -> ContainerView:
        """Freeze all processes of a running container."""
        return await self._freeze(namespace, container_id, frozen=True)

    async def resume(self, namespace: str, container_id: str) -> ContainerView:
        """Let a paused container go on."""
        return await self._freeze(namespace, container_id, frozen=False)

    async def _freeze(self, namespace: str, container_id: str, *, frozen: bool) -> ContainerView:
        async with self._lifecycle.locks.hold(namespace, container_id):
            ref, _, task = await self._lifecycle.live(namespace, container_id)
            wanted = TaskStatus.PAUSED if frozen else TaskStatus.RUNNING
            if task.status is not wanted:
                await (self._runtime.pause(ref) if frozen else self._runtime.resume(ref))
                topic = "/tasks/paused" if frozen else "/tasks/resumed"

                def record(tx: Any) -> None:
                    current = tx.tasks.get(namespace, container_id)
                    if current.status in ALIVE:
                        tx.tasks.put(namespace, evolve(current, status=wanted))
                        tx.events.publish(namespace, topic, {"container_id": container_id})

                await self._db.write(record)
        return await self._view(namespace, container_id)

    async def wait(self, namespace: str, container_id: str) -> ExitView:
        """Return when the container's task has ended, with its exit code."""
        while True:
            _, task = await self._lifecycle.records(namespace, container_id)
            if task is None:
                raise FailedPrecondition(f"container {container_id} has no task", hint="start it first")
            if task.status is TaskStatus.STOPPED:
                return exit_view(task)
            await self._lifecycle.supervisor.ended(namespace, container_id)
            await trio.lowlevel.checkpoint()

    # ------------------------------------------------------------ exec
    @asynccontextmanager
    async def exec_session(
        self, namespace: str, container_id: str, request: ExecRequest
    ) -> AsyncIterator[ExecSession]:
        """Run a process in a running container, with its stdio in hand. Leaving early kills it."""
        if not request.args:
            raise InvalidArgument("nothing to execute", field="args")
        ref, container, task = await self._lifecycle.live(namespace, container_id)
        if task.status is TaskStatus.PAUSED:
            raise FailedPrecondition(f"container {container_id} is paused", hint="resume it first")
        rootfs = self._lifecycle.bundles.rootfs(namespace, container_id)
        process = await self._specs.exec_process(container, request, rootfs)
        exec_id = uuid4().hex[:12]
        async with self._runtime.exec(
            ref, exec_id, process, terminal=request.terminal, stdin=True
        ) as session:
            await self._db.write(lambda tx: _record_exec(tx, ref, exec_id, session.pid), durable=False)
            yield session

    async def exec(self, namespace: str, container_id: str, request: ExecRequest) -> ExecResult:
        """Run a process to its end and return its output, at most 16 MiB of each stream."""
        started = time.monotonic()
        output = _Output()
        async with (
            self.exec_session(namespace, container_id, request) as session,
            typed_nursery() as nursery,
        ):
            nursery.start_soon(_feed, session, request.stdin)
            code: int | None = None
            with trio.move_on_after(request.timeout or float("inf")):
                async for kind, data in session:
                    output.add(kind, data)
                code = (await session.wait()).code
            nursery.cancel_scope.cancel()
        return ExecResult(
            exit_code=_TIMED_OUT if code is None else code,
            stdout=output.text("stdout"), stderr=output.text("stderr"),
            truncated=output.truncated, timed_out=code is None, duration=time.monotonic() - started,
        )  # fmt: skip

    # ------------------------------------------------------------ stdio and figures
    @asynccontextmanager
    async def attach(
        self, namespace: str, container_id: str, *, start: bool = False
    ) -> AsyncIterator[StdioStream]:
        """Connect to the container's stdio; with `start` before it runs, so that nothing is missed."""
        if not start:
            ref, _, _ = await self._lifecycle.live(namespace, container_id)
            if ref.stdio is not None:
                raise _elsewhere(f"container {container_id} can't be attached to here", ref.stdio)
            async with self._runtime.attach(ref) as stream:
                yield stream
            return
        async with AsyncExitStack() as stack:
            async with self._lifecycle.locks.hold(namespace, container_id):
                await self._require_open(namespace, container_id)
                ref = await self._lifecycle.start(namespace, container_id, hold=True)
                if ref.stdio is not None:
                    raise _elsewhere(f"container {container_id} can't be attached to here", ref.stdio)
                stream = await stack.enter_async_context(self._runtime.attach(ref))
                _, task = await self._lifecycle.records(namespace, container_id)
                if task and task.status is TaskStatus.CREATED:
                    await self._lifecycle.release(namespace, ref)
            yield stream

    async def logs(
        self,
        namespace: str,
        container_id: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[LogLine]:
        """Yield what the container wrote; with `follow` until its end or the time `until`."""
        container, task = await self._lifecycle.records(namespace, container_id)
        if task and task.stdio is not None:
            raise _elsewhere(f"there is no log of container {container_id}", task.stdio)
        if container.desired.get("terminal") and task is None:
            return
        ref = self._lifecycle.bundles.ref(namespace, container)
        alive = task is not None and task.status in ALIVE
        lines = self._runtime.logs(ref, follow=follow and alive, tail=tail, since=since, until=until)
        async for line in lines:
            yield line

    async def resize(self, namespace: str, container_id: str, rows: int, columns: int) -> None:
        """Tell a container's terminal its size."""
        if not (0 < rows <= 0xFFFF and 0 < columns <= 0xFFFF):
            raise InvalidArgument("a terminal has 1 to 65535 rows and columns", field="rows")
        ref, _, task = await self._lifecycle.live(namespace, container_id)
        if not task.terminal:
            raise FailedPrecondition(f"container {container_id} has no terminal")
        await self._runtime.resize(ref, rows, columns)

    async def stats(self, namespace: str, container_id: str) -> dict[str, float]:
        """Return the figures of the container's cgroup."""
        ref, _, _ = await self._lifecycle.live(namespace, container_id)
        return await self._runtime.stats(ref)

    async def pids(self, namespace: str, container_id: str) -> list[int]:
        """Return the container's processes, as the host numbers them."""
        ref, _, _ = await self._lifecycle.live(namespace, container_id)
        return await self._runtime.pids(ref)

    async def _view(self, namespace: str, container_id: str) -> ContainerView:
        container, task = await self._lifecycle.records(namespace, container_id)
        ref = self._lifecycle.bundles.ref(namespace, container)
        health = self._lifecycle.health_of(namespace, container_id)
        return container_view(namespace, container, task, ref.log, health)


STOP_SIGNAL_LABEL = "org.opencontainers.image.stopSignal"
_CLIENTS_LABEL = "io.containerd.image.config.stop-signal"


def _labelled_signal(container: Container) -> str:
    return container.labels.get(STOP_SIGNAL_LABEL) or container.labels.get(_CLIENTS_LABEL) or ""


def _elsewhere(what: str, stdio: Stdio) -> FailedPrecondition:
    where = ", ".join(dict.fromkeys(filter(None, (stdio.stdout, stdio.stderr)))) or "nowhere"
    return FailedPrecondition(
        what,
        why=f"the client that created its task has its output: it goes to {where}"[:1000],
        hint="read it there, or start the container by `tricorn` or by Ansible",
    )


class _Output:
    """Keeps the first 16 MiB of each stream and counts the rest as truncated."""

    def __init__(self) -> None:
        self._streams = {"stdout": bytearray(), "stderr": bytearray()}
        self.truncated = False

    def add(self, kind: str, data: bytes) -> None:
        buffer = self._streams[kind]
        room = limits.EXEC_OUTPUT - len(buffer)
        if len(data) > room:
            self.truncated = True
        buffer += data[:room]

    def text(self, kind: str) -> str:
        return self._streams[kind].decode("utf-8", "replace")


async def _feed(session: ExecSession, text: str) -> None:
    if text:
        await session.send(text.encode())
    await session.close_stdin()


def signal_number(name: str) -> int:
    """Return the number of `SIGTERM`, `TERM` or `15`; InvalidArgument for anything else."""
    text = name.upper()
    if text.isdecimal() and 0 < int(text) < signals.NSIG:
        return int(text)
    full = text if text.startswith("SIG") else f"SIG{text}"
    if full.startswith("SIGRTMIN+") and full[9:].isdecimal():
        number = signals.SIGRTMIN + int(full[9:])
        if number <= signals.SIGRTMAX:
            return int(number)
    try:
        return int(signals.Signals[full])
    except KeyError:
        raise InvalidArgument(
            f"unknown signal {name[:32]!r}", hint="a name like SIGTERM or a number like 15", field="signal"
        ) from None


def _record_exec(tx: Transaction, ref: BundleRef, exec_id: str, pid: int) -> None:
    """Tell of a process that is added and started at once."""
    tx.events.publish(ref.namespace, "/tasks/exec-added", process_events.exec_added(ref.id, exec_id))
    started = process_events.exec_started(ref.id, exec_id, pid)
    tx.events.publish(ref.namespace, "/tasks/exec-started", started)
