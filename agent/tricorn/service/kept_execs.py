"""Execs that go on without a client: detached ones, and sessions that can be joined again. They outlive the
agent; what is kept of an ended one goes with its container at the latest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from signal import SIGKILL
from uuid import uuid4

import structlog
import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound, TricornError
from tricorn.model import ids
from tricorn.model.execs import ExecStart, ExecView, KeptExec
from tricorn.model.records import TaskStatus
from tricorn.model.requests import ExecRequest, ExitView, KillRequest, LogLine
from tricorn.model.stdio import Stdio
from tricorn.ports import BundleRef, Clock, Created, Runtime, StdioStream
from tricorn.service.execs import Exec, Execs
from tricorn.service.lifecycle import Lifecycle
from tricorn.service.processes import ProcessService
from tricorn.service.specs import SpecFactory
from tricorn.service.tasks import signal_number

log = structlog.get_logger(__name__)
_INTERVAL = 2.0  # seconds between two looks at the size of the logs
_KILL_GRACE = 10.0  # seconds a SIGKILL may take to show


class ExecService:
    """Execs by id. All raise NotFound for unknown containers, tasks and execs."""

    def __init__(
        self,
        runtime: Runtime,
        lifecycle: Lifecycle,
        specs: SpecFactory,
        processes: ProcessService,
        execs: Execs,
        clock: Clock,
    ) -> None:
        self._runtime = runtime
        self._lifecycle = lifecycle
        self._specs = specs
        self._processes = processes
        self._execs = execs
        self._clock = clock

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        runtime: Runtime,
        lifecycle: Lifecycle,
        specs: SpecFactory,
        processes: ProcessService,
        execs: Execs,
        clock: Clock,
    ) -> AsyncIterator[ExecService]:
        """Own the task that looks after the logs; at the exit the processes go on."""
        async with trio.open_nursery() as nursery:
            service = cls(runtime, lifecycle, specs, processes, execs, clock)
            nursery.start_soon(service.look_after)
            try:
                yield service
            finally:
                nursery.cancel_scope.cancel()

    # ------------------------------------------------------------ the exec itself
    async def start(self, namespace: str, container_id: str, wanted: ExecStart) -> ExecView:
        """Run a process in a running container, which then is on its own. AlreadyExists for an id that is
        taken; InvalidArgument when the command can't be executed; FailedPrecondition in a container that
        doesn't run, or is paused; ResourceExhausted for too many.
        """
        if not wanted.args:
            raise InvalidArgument("nothing to execute", field="args")
        exec_id = ids.identifier(wanted.id, "id") if wanted.id else uuid4().hex[:12]
        ref, container, task = await self._lifecycle.live(namespace, container_id)
        if task.status is TaskStatus.PAUSED:
            raise FailedPrecondition(f"container {container_id} is paused", hint="resume it first")
        await self._drop_oldest(namespace, container_id)
        request = ExecRequest(
            wanted.args, wanted.env, wanted.cwd, wanted.user, wanted.terminal, privileged=wanted.privileged
        )
        rootfs = self._lifecycle.bundles.rootfs(namespace, container_id)
        process = await self._specs.exec_process(container, request, rootfs)
        kept = self._record(ref, wanted)
        try:
            await self._execs.add(ref, exec_id, process, Stdio(terminal=wanted.terminal), kept)
            item = self._execs.get(namespace, container_id, exec_id)
            await self._execs.start(item)
        except BaseException:
            await self._take_back(ref, kept)
            raise
        return _view(item)

    def _record(self, ref: BundleRef, wanted: ExecStart) -> KeptExec:
        return KeptExec(
            wanted.args, wanted.user, wanted.terminal, wanted.stdin, self._clock.now(),
            min(ref.log_size or limits.EXEC_LOG_SIZE, limits.EXEC_LOG_SIZE), limits.EXEC_LOG_FILES,
        )  # fmt: skip

    async def _take_back(self, ref: BundleRef, kept: KeptExec) -> None:
        """Forget one that nobody was told of, unless it runs: then the list tells of it."""
        for item in self._execs.list(ref.namespace, ref.id):
            if item.kept is kept and item.status is not TaskStatus.RUNNING:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
                    await self._execs.remove(item)

    async def list(self, namespace: str, container_id: str) -> list[ExecView]:
        """Return what runs beside the container's own process, and what ended and is kept."""
        await self._lifecycle.records(namespace, container_id)
        return [_view(item) for item in self._execs.list(namespace, container_id)]

    async def get(self, namespace: str, container_id: str, exec_id: str) -> ExecView:
        return _view(await self._find(namespace, container_id, exec_id))

    async def wait(self, namespace: str, container_id: str, exec_id: str) -> ExitView:
        """Return how it ended, once it has."""
        end = await self._execs.wait(await self._find(namespace, container_id, exec_id))
        return ExitView(end.code, end.at, end.note)

    async def kill(self, namespace: str, container_id: str, exec_id: str, request: KillRequest) -> None:
        """Send a signal to its process; FailedPrecondition for `all`, which is for containers."""
        if request.all:
            raise FailedPrecondition("an exec is signalled alone", field="all")
        number = signal_number(request.signal)
        await self._processes.kill(namespace, container_id, number, exec_id=exec_id)

    async def remove(self, namespace: str, container_id: str, exec_id: str, *, force: bool = False) -> None:
        """Forget an ended one and remove its log; with `force` one that runs is killed first.
        FailedPrecondition for that otherwise.
        """
        item = await self._find(namespace, container_id, exec_id)
        if force and item.status is TaskStatus.RUNNING and item.created:
            try:
                await self._runtime.kill_exec(item.ref, item.created, SIGKILL)
            except NotFound:
                log.debug("it has just ended", exec=exec_id)
            with trio.move_on_after(_KILL_GRACE):
                await item.ended.wait()
        await self._processes.delete(namespace, container_id, exec_id)

    async def _find(self, namespace: str, container_id: str, exec_id: str) -> Exec:
        await self._lifecycle.records(namespace, container_id)
        return self._execs.get(namespace, container_id, exec_id)

    # ------------------------------------------------------------ its stdio
    @asynccontextmanager
    async def attach(
        self, namespace: str, container_id: str, exec_id: str, *, replay: bool = False
    ) -> AsyncIterator[StdioStream]:
        """Connect to its stdio, with `replay` from the beginning of what is kept of its output. Leaving
        detaches; any number may be attached.
        """
        item, created, kept = await self._kept(namespace, container_id, exec_id)
        async with self._runtime.attach_exec(item.ref, exec_id, created, kept, replay=replay) as stream:
            yield stream

    async def logs(
        self,
        namespace: str,
        container_id: str,
        exec_id: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[LogLine]:
        """Yield what it wrote; with `follow` until its end or the time `until`."""
        item, _, kept = await self._kept(namespace, container_id, exec_id)
        lines = self._runtime.exec_logs(
            item.ref, exec_id, kept, follow=follow, tail=tail, since=since, until=until
        )
        async for line in lines:
            yield line

    async def resize(self, namespace: str, container_id: str, exec_id: str, rows: int, columns: int) -> None:
        """Tell its terminal its size; FailedPrecondition without one."""
        if not (0 < rows <= 0xFFFF and 0 < columns <= 0xFFFF):
            raise InvalidArgument("a terminal has 1 to 65535 rows and columns", field="rows")
        item = await self._find(namespace, container_id, exec_id)
        if not item.stdio.terminal:
            raise FailedPrecondition(f"exec {exec_id} has no terminal")
        await self._processes.resize(namespace, container_id, exec_id, columns, rows)

    async def close_stdin(self, namespace: str, container_id: str, exec_id: str) -> None:
        """End its standard input."""
        await self._find(namespace, container_id, exec_id)
        await self._processes.close_io(namespace, container_id, exec_id, stdin=True)

    async def _kept(self, namespace: str, container_id: str, exec_id: str) -> tuple[Exec, Created, KeptExec]:
        item = await self._find(namespace, container_id, exec_id)
        if item.kept is None or item.created is None:
            raise FailedPrecondition(
                f"exec {exec_id} can't be attached to here",
                why="the client that started it has its output",
            )
        return item, item.created, item.kept

    # ------------------------------------------------------------ what is kept, and for how long
    async def look_after(self) -> None:
        """Bound the logs and drop what ended long ago, for ever."""
        while True:
            await trio.sleep(_INTERVAL)
            for item in [*self._execs.kept()]:
                try:
                    await self._look_at(item)
                except (TricornError, OSError) as error:
                    log.warning("exec not looked after", exec=item.id, error=str(error))

    async def _look_at(self, item: Exec) -> None:
        if item.kept and item.status is TaskStatus.RUNNING:
            await self._runtime.rotate_exec_log(item.ref, item.id, item.kept)
        elif item.end and (self._clock.now() - item.end.at).total_seconds() > limits.EXECS_ENDED_AGE:
            await self._execs.remove(item)

    async def _drop_oldest(self, namespace: str, container_id: str) -> None:
        """Leave room for one more among the ended ones."""
        known = self._execs.list(namespace, container_id)
        ended = sorted((item for item in known if item.kept and item.end), key=_end)
        for item in ended[: max(0, len(ended) - limits.EXECS_ENDED + 1)]:
            await self._execs.remove(item)


def _end(item: Exec) -> datetime:
    assert item.end is not None
    return item.end.at


def _view(item: Exec) -> ExecView:
    kept, end = item.kept, item.end
    given = item.process.get("args") or ()
    return ExecView(
        item.id, item.ref.id, item.status, kept is not None,
        item.pid if item.status is TaskStatus.RUNNING else 0,
        kept.args if kept else tuple(str(word) for word in given),
        kept.user if kept else "", item.stdio.terminal, kept.stdin if kept else bool(item.stdio.stdin),
        end.code if end else None, end.note if end else "", kept.started_at if kept else None,
        end.at if end else None,
    )  # fmt: skip
