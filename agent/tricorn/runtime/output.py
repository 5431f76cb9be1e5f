"""What containers print: attaching to it live, reading it later, rotating the files it is in."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import structlog
import trio

from tricorn import limits
from tricorn.errors import NotFound
from tricorn.failpoints import failpoint
from tricorn.model.records import ProcessIdentity
from tricorn.model.requests import LogLine
from tricorn.ports import BundleRef, StdioStream
from tricorn.private_directories import ensure_directory
from tricorn.runtime import bundle as bundles
from tricorn.runtime import conmon, logs, stdio
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.watch import Watch, Watcher

log = structlog.get_logger(__name__)
_ROTATE_PATIENCE: Final = 2.0


class ContainerOutput:
    """The stdio part of the Runtime port; `watcher` is run by the caller."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def watching(self, log: str) -> AbstractContextManager[Watch]:
        """Watch the directory of a log."""
        return self._watcher.watching(os.path.dirname(log))

    @asynccontextmanager
    async def attach(self, ref: BundleRef) -> AsyncIterator[StdioStream]:
        bundle = Bundle.of(ref)
        created = bundle.read_created()
        if created is None or stdio.monitor_ended(created.monitor):
            raise NotFound(f"container {ref.id} doesn't run")
        async with AsyncExitStack() as stack:
            watch = stack.enter_context(self._watcher.watching(os.path.dirname(ref.log)))
            reader = logs.LogReader.open(ref.log, at_end=True)
            stack.callback(reader.close)
            input_: stdio.Input = stdio.NoInput()
            if ref.terminal:
                input_ = stdio.terminal_input(bundle)
            elif ref.stdin:
                input_ = stdio.piped_input(created.monitor)
            stack.callback(input_.release)
            await trio.lowlevel.checkpoint()
            yield stdio.ContainerStream(reader, watch, created.monitor, input_)

    async def logs(
        self,
        ref: BundleRef,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncGenerator[LogLine, None]:
        late_enough = logs.after(since)
        early_enough = logs.until(until) if until else None
        deadline = _deadline(until)

        def wanted(line: LogLine) -> bool:
            return late_enough(line) and (early_enough is None or early_enough(line.timestamp))

        joiner = logs.LineJoiner()
        created = Bundle.of(ref).read_created() if follow else None
        monitor = created.monitor if created else bundles.NULL_IDENTITY
        ensure_directory(os.path.dirname(ref.log))
        with self._watcher.watching(os.path.dirname(ref.log)) as watch:
            reader = logs.LogReader.open(ref.log)
            try:
                if tail is not None:
                    await reader.skip_to_tail(tail, early_enough)
                follower = stdio.follower(reader, watch, monitor, deadline)
                while records := await follower.batch():
                    for record in records:
                        line = joiner.feed(record)
                        if line and wanted(line):
                            yield line
                for line in filter(wanted, joiner.flush()):
                    yield line
            finally:
                reader.close()

    async def rotate(self, ref: BundleRef) -> bool:
        try:
            due = os.stat(ref.log).st_size >= (ref.log_size or limits.LOG_SIZE)
            renamed = False
        except FileNotFoundError:  # renamed by an agent that didn't live to have it opened anew?
            due = renamed = bool(logs.names(ref.log))
        if not due:
            await trio.lowlevel.checkpoint()
            return False
        bundle = Bundle.of(ref)
        created = bundle.read_created()
        if created is None or stdio.monitor_ended(created.monitor):
            return False
        if not renamed:
            logs.rotate(ref.log, max(2, ref.log_files or limits.LOG_FILES))
            failpoint("logs.renamed")
        conmon.control(bundle, "2 0 0\n")
        await self._log_reopened(ref, created.monitor)
        return True

    async def _log_reopened(self, ref: BundleRef, monitor: ProcessIdentity) -> None:
        """Wait for the monitor's new log; one that ended meanwhile gets an empty one."""
        with trio.move_on_after(_ROTATE_PATIENCE), self._watcher.watching(os.path.dirname(ref.log)) as watch:
            while logs.names(ref.log)[:1] != [ref.log]:
                if stdio.monitor_ended(monitor):
                    logs.touch(ref.log)
                    return
                await stdio.change_or_end(watch, watch.version, monitor)
            return
        log.warning("log not reopened", container=ref.id, why="its monitor doesn't answer")


def _deadline(until: datetime | None) -> float:
    """Return when a follower has to stop, on Trio's clock."""
    if until is None or until.tzinfo is None:
        return math.inf
    return trio.current_time() + (until - datetime.now(UTC)).total_seconds()
