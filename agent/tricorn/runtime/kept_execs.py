"""Execs that need no client: their monitors log what they write, as those of containers do.

A client that attaches reads the log and writes to the monitor's attach socket, so any number may come and go,
and neither their end nor the agent's means anything to the process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final

import trio
from attrs import evolve

from tricorn import limits
from tricorn.errors import FailedPrecondition, NotFound
from tricorn.failpoints import failpoint
from tricorn.model.execs import KeptExec
from tricorn.model.requests import LogLine
from tricorn.ports import BundleRef, Created, StdioStream
from tricorn.runtime import conmon, logs, stdio
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.client_processes import ClientProcesses
from tricorn.runtime.execs import (
    RUNTIME_LOG,
    ExecPlan,
    end_exec,
    identify_started,
    refusal,
    runtime_log,
    write_process,
)
from tricorn.runtime.kept_records import read_kept, write_kept
from tricorn.runtime.output import ContainerOutput

_LOGS: Final = "execs"  # a directory beside the container's log


class KeptExecs(ClientProcesses):
    """Mixed into the runtime: the part of the port that is about execs with a log."""

    _output: ContainerOutput

    async def start_kept_exec(
        self, ref: BundleRef, exec_id: str, process: Mapping[str, Any], kept: KeptExec
    ) -> Created:
        runtime = await self._runtime(ref)
        plan = ExecPlan(
            Bundle.of(ref).exec(exec_id), tuple(runtime.arguments(ref.namespace)), self._find_conmon(),
            self._environment, process, kept.terminal, kept.stdin, self._consoles,
        )  # fmt: skip
        try:
            with self._attachments.expected():
                return await _start(plan, kept, log_path(ref, exec_id))
        except BaseException:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
                await self.remove_exec(ref, exec_id)
            raise

    @asynccontextmanager
    async def attach_exec(
        self, ref: BundleRef, exec_id: str, created: Created, kept: KeptExec, *, replay: bool = False
    ) -> AsyncIterator[StdioStream]:
        async with AsyncExitStack() as stack:
            log = log_path(ref, exec_id)
            watch = stack.enter_context(self._output.watching(log))
            reader = logs.LogReader.open(log, at_end=not replay)
            stack.callback(reader.close)
            input_ = _input(Bundle.of(ref).exec(exec_id), created, kept)
            stack.callback(input_.release)
            await trio.lowlevel.checkpoint()
            yield stdio.ContainerStream(reader, watch, created.monitor, input_)

    async def exec_logs(
        self,
        ref: BundleRef,
        exec_id: str,
        kept: KeptExec,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncGenerator[LogLine, None]:
        lines = self._output.logs(
            _as_container(ref, exec_id, kept), follow=follow, tail=tail, since=since, until=until
        )
        async with aclosing(lines):
            async for line in lines:
                yield line

    async def end_stdin(self, ref: BundleRef, exec_id: str, created: Created) -> None:
        bundle = Bundle.of(ref).exec(exec_id)
        kept = read_kept(bundle) if exec_id else None
        if kept is None:
            await super().end_stdin(ref, exec_id, created)
            return
        input_ = _input(bundle, created, kept)
        try:
            with suppress(NotFound):
                await input_.close()
        finally:
            input_.release()

    async def remove_exec(self, ref: BundleRef, exec_id: str) -> None:
        await super().remove_exec(ref, exec_id)
        shutil.rmtree(os.path.dirname(log_path(ref, exec_id)), ignore_errors=True)

    async def rotate_exec_log(self, ref: BundleRef, exec_id: str, kept: KeptExec) -> bool:
        return await self._output.rotate(_as_container(ref, exec_id, kept))


def log_path(ref: BundleRef, exec_id: str) -> str:
    """Return where the output of a container's exec is logged."""
    return os.path.join(os.path.dirname(ref.log), _LOGS, exec_id, "log")


def remove_logs(ref: BundleRef) -> None:
    """Remove the logs of all execs of a container, those of an earlier boot, too."""
    shutil.rmtree(os.path.dirname(os.path.dirname(log_path(ref, "any"))), ignore_errors=True)


def _as_container(ref: BundleRef, exec_id: str, kept: KeptExec) -> BundleRef:
    """Return an exec as what has a monitor, a log and a directory: there it is as a container is."""
    return evolve(
        ref, bundle=Bundle.of(ref).exec(exec_id).path, log=log_path(ref, exec_id), terminal=kept.terminal,
        stdin=kept.stdin, stdio=None, log_size=kept.log_size, log_files=kept.log_files,
    )  # fmt: skip


async def _start(plan: ExecPlan, kept: KeptExec, log: str) -> Created:
    write_process(plan)
    write_kept(plan.bundle, kept)
    os.makedirs(os.path.dirname(log), mode=0o700, exist_ok=True)
    with ExitStack() as stack:
        given: dict[int, int] = {}
        environment = dict(plan.environment)
        if plan.terminal:
            environment |= stack.enter_context(conmon.console_directory(plan.consoles))
        elif plan.stdin:
            holder = stack.enter_context(conmon.make_stdin_holder())
            given[conmon.STDIN_FD] = holder.fileno()
        monitor = conmon.launch(_command(plan, log), plan.bundle, environment, given)
        stack.callback(monitor.close)
        failpoint("exec.launched")
        created = await _started(plan, monitor)
        if given:
            with suppress(OSError):  # it has ended already
                conmon.connect(holder, plan.bundle)
    plan.bundle.save_created(created)
    failpoint("exec.started")
    return created


async def _started(plan: ExecPlan, monitor: conmon.Monitor) -> Created:
    try:
        pid = await conmon.wait_started(monitor)
    except FailedPrecondition as error:
        await end_exec(plan.bundle, monitor.identity)
        raise refusal(plan, runtime_log(plan.bundle) or error.why) from None
    except BaseException:
        await end_exec(plan.bundle, monitor.identity)
        raise
    return Created(identify_started(pid, monitor), monitor.identity)


def _command(plan: ExecPlan, log: str) -> list[str]:
    options = conmon.MonitorOptions(
        log=log, terminal=plan.terminal, stdin=plan.stdin, process_file=plan.bundle.file("process.json")
    )
    # what the process writes to its stderr is logged: a runtime's complaints don't belong there
    runtime = [*plan.runtime, "--log", plan.bundle.file(RUNTIME_LOG)]
    return conmon.command(plan.conmon, plan.bundle, os.path.basename(plan.bundle.path), runtime, options)


def _input(bundle: Bundle, created: Created, kept: KeptExec) -> stdio.Input:
    if kept.stdin and not stdio.monitor_ended(created.monitor):
        with suppress(NotFound):  # it has just ended: its last output is there all the same
            return stdio.terminal_input(bundle) if kept.terminal else stdio.piped_input(created.monitor)
    return stdio.NoInput()
