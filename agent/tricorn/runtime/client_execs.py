"""Execs with the stdio of a client: started by one call, waited for and removed by others."""

from __future__ import annotations

import json
import os
import socket
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from typing import Final

import structlog
import trio
from attrs import asdict

from tricorn import limits
from tricorn.errors import FailedPrecondition
from tricorn.model.stdio import Stdio
from tricorn.ports import Created, Exit, FoundExec
from tricorn.runtime import conmon
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.client_stdio import ClientStdio
from tricorn.runtime.execs import (
    RUNTIME_LOG,
    ExecPlan,
    end_exec,
    identify_started,
    refusal,
    runtime_log,
    write_process,
)
from tricorn.runtime.kept_records import read_kept
from tricorn.runtime.sessions import end_orphan
from tricorn.runtime.wiring import Wiring

log = structlog.get_logger(__name__)
_STDIO: Final = "stdio.json"  # in the directory of an exec that a client started
_TOLD: Final = "told"


async def start(plan: ExecPlan, client: ClientStdio, stdio: Stdio, namespace: str) -> Created:
    """Start the process. InvalidArgument when the command can't be executed, FailedPrecondition with the
    runtime's words; nothing is left of it then.
    """
    write_process(plan)
    plan.bundle.write(_STDIO, json.dumps(asdict(stdio)))
    name = os.path.basename(plan.bundle.path)
    try:
        async with client.prepare(stdio, plan.bundle, name, namespace) as (_, wiring):
            created = await _launch(plan, wiring)
            plan.bundle.save_created(created)
            client.begin(plan.bundle, wiring, created.init)
            await client.connect_stdin(stdio, plan.bundle, namespace)
            return created
    except BaseException:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
            await remove(plan.bundle, client)
        raise


async def _launch(plan: ExecPlan, wiring: Wiring) -> Created:
    with ExitStack() as stack:
        environment, given = dict(plan.environment), dict(wiring.given)
        handshake = None
        if wiring.client:
            environment |= stack.enter_context(conmon.console_directory(plan.consoles))
            handshake = stack.enter_context(closing(_Handshake()))
            given |= handshake.given
        monitor = conmon.launch(_command(plan), plan.bundle, environment, given)
        stack.callback(monitor.close)
        try:
            if wiring.client and handshake:
                await handshake.complete(wiring.client, plan.bundle)
            pid = await conmon.wait_started(monitor)
        except (FailedPrecondition, OSError) as error:
            await end_exec(plan.bundle, monitor.identity)
            words = error.why if isinstance(error, FailedPrecondition) else str(error)
            raise refusal(plan, runtime_log(plan.bundle) or words) from None
        except BaseException:
            await end_exec(plan.bundle, monitor.identity)
            raise
        return Created(identify_started(pid, monitor), monitor.identity)


class _Handshake:
    """With a terminal the monitor waits for us twice: to begin, and to start the process once we are
    attached, so that no output is lost.
    """

    def __init__(self) -> None:
        self._start_theirs, self._start = os.pipe2(os.O_CLOEXEC)
        self._attach, self._attach_theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._attach, False)
        self.given = {conmon.START_FD: self._start_theirs, conmon.ATTACH_FD: self._attach_theirs}

    async def complete(self, client: socket.socket, bundle: Bundle) -> None:
        """FailedPrecondition when the monitor ended instead."""
        self._close_theirs()
        os.write(self._start, b"1")
        await conmon.wait_ready(self._attach)
        conmon.connect(client, bundle)
        os.write(self._start, b"1")

    def _close_theirs(self) -> None:
        for fd in self.given.values():
            os.close(fd)
        self.given = {}

    def close(self) -> None:
        self._close_theirs()
        os.close(self._start)
        os.close(self._attach)


def _command(plan: ExecPlan) -> list[str]:
    options = conmon.MonitorOptions(
        terminal=plan.terminal, process_file=plan.bundle.file("process.json"), exec_attach=plan.terminal
    )
    name = os.path.basename(plan.bundle.path)
    # the process's stderr is the client's: a runtime's complaints don't belong there
    runtime = [*plan.runtime, "--log", plan.bundle.file(RUNTIME_LOG)]
    return conmon.command(plan.conmon, plan.bundle, name, runtime, options)


async def wait(bundle: Bundle, created: Created) -> Exit:
    """Wait for the end of the process; it may be asked again until the exec is removed."""
    await conmon.wait_ended(created.monitor)
    ended = bundle.read_exit()
    if ended is None:
        await end_orphan(created.init)
        return Exit(255, datetime.now(UTC), note="lost: the monitor of the process was killed")
    return Exit(*ended)


def found(bundle: Bundle) -> FoundExec | None:
    """Return what an earlier agent started here for a client, or with a log; None if that wasn't completed,
    or is a session of that agent.
    """
    created = bundle.read_created()
    told = os.path.exists(bundle.file(_TOLD))
    name = os.path.basename(bundle.path)
    if created and (kept := read_kept(bundle)):
        return FoundExec(name, created, Stdio(terminal=kept.terminal), told, kept)
    try:
        with open(bundle.file(_STDIO), encoding="utf-8") as file:
            stdio = Stdio(**json.load(file))
    except (OSError, ValueError, TypeError):
        return None
    if created is None:
        return None
    return FoundExec(name, created, stdio, told)


def note_told(bundle: Bundle) -> None:
    """Remember that the end of the process is in the journal."""
    if bundle.exists():
        bundle.write(_TOLD, "")


async def remove(bundle: Bundle, client: ClientStdio) -> None:
    """End the process and its monitor if they are still there, and remove the exec's directory."""
    await trio.lowlevel.checkpoint()
    if not bundle.exists():
        return
    created = bundle.read_created()
    for monitor in [created.monitor] if created else conmon.find_by_bundle(bundle):
        await end_exec(bundle, monitor)
    await client.finish(bundle)
    bundle.remove()
