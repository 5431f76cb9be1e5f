"""Further processes in a container, each with a monitor of its own.

Without a terminal the process writes straight into the agent's pipes (no copy, and end of file is seen).
With one, the monitor waits until the agent is attached before it starts the process: nothing is lost.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final

import structlog
import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument, TricornError
from tricorn.failpoints import failpoint
from tricorn.model.records import ProcessIdentity
from tricorn.ports import ExecSession
from tricorn.runtime import conmon, oci, process
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.sessions import PipeInput, PipeSession, TerminalSession, end_orphan, kill_group
from tricorn.runtime.stdio import Input, NoInput

log = structlog.get_logger(__name__)
_CHUNK: Final = 64 * limits.KIB
_PACKET: Final = 8 * limits.KIB + 64
_STRAY_WAIT: Final = 5.0
RUNTIME_LOG: Final = "runtime.log"


@frozen
class ExecPlan:
    """What an exec needs to be started."""

    bundle: Bundle  # the exec's own directory
    runtime: tuple[str, ...]
    conmon: str
    environment: Mapping[str, str]
    process: Mapping[str, Any]
    terminal: bool
    stdin: bool
    consoles: str  # where console sockets may be made


@asynccontextmanager
async def run_exec(plan: ExecPlan) -> AsyncIterator[ExecSession]:
    """Start the process; on leaving, one that still runs is killed and nothing of it is left behind.

    Raises InvalidArgument when the command can't be executed, FailedPrecondition with the runtime's words.
    """
    async with AsyncExitStack() as stack:
        stack.callback(plan.bundle.remove)
        write_process(plan)
        start = _start_on_terminal if plan.terminal else _start_on_pipes
        yield await start(plan, stack)


def write_process(plan: ExecPlan) -> None:
    os.makedirs(plan.bundle.path, mode=0o700)
    plan.bundle.prepare()
    document = dict(plan.process) | {"terminal": plan.terminal}
    with open(plan.bundle.file("process.json"), "w", encoding="utf-8") as file:
        json.dump(document, file)


def _launch(plan: ExecPlan, stack: AsyncExitStack, descriptors: Mapping[int, int]) -> conmon.Monitor:
    options = conmon.MonitorOptions(
        terminal=plan.terminal,
        stdin=plan.stdin,
        process_file=plan.bundle.file("process.json"),
        exec_attach=plan.terminal,
    )
    name = os.path.basename(plan.bundle.path)
    runtime = list(plan.runtime)
    if plan.terminal:  # crun's complaint would be lost between terminal and monitor
        runtime += ["--log", plan.bundle.file(RUNTIME_LOG)]
    argv = conmon.command(plan.conmon, plan.bundle, name, runtime, options)
    console = stack.enter_context(conmon.console_directory(plan.consoles)) if plan.terminal else {}
    monitor = conmon.launch(argv, plan.bundle, dict(plan.environment) | console, descriptors)
    stack.callback(monitor.close)
    stack.push_async_callback(end_exec, plan.bundle, monitor.identity)
    failpoint("exec.launched")
    return monitor


async def _start_on_pipes(plan: ExecPlan, stack: AsyncExitStack) -> PipeSession:
    out, out_theirs = _output_pipe(stack)
    err, err_theirs = _output_pipe(stack)
    given = {1: out_theirs, 2: err_theirs}
    input_: Input = NoInput()
    theirs = [out_theirs, err_theirs]
    if plan.stdin:
        stdin_theirs, ours = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        input_ = PipeInput(ours)
        stack.callback(input_.release)
        given[0] = stdin_theirs
        theirs.append(stdin_theirs)
    try:
        monitor = _launch(plan, stack, given)
    finally:
        for fd in theirs:
            os.close(fd)
    try:
        pid = await conmon.wait_started(monitor)
    except FailedPrecondition as error:
        # with stdio passed through, the runtime speaks to the process's stderr
        raise refusal(plan, error.why or _peek(err)) from None
    init = identify_started(pid, monitor)
    session = PipeSession(plan.bundle, monitor.identity, init, input_, {out: "stdout", err: "stderr"})
    stack.callback(session.release)
    return session


async def _start_on_terminal(plan: ExecPlan, stack: AsyncExitStack) -> TerminalSession:
    start_theirs, start = os.pipe2(os.O_CLOEXEC)
    attach, attach_theirs = os.pipe2(os.O_CLOEXEC)
    stack.callback(os.close, attach)
    os.set_blocking(attach, False)
    try:
        monitor = _launch(plan, stack, {conmon.START_FD: start_theirs, conmon.ATTACH_FD: attach_theirs})
    except BaseException:
        os.close(start)
        raise
    finally:
        os.close(start_theirs)
        os.close(attach_theirs)
    stack.callback(os.close, start)  # before the monitor is waited for: it reads from there
    client = conmon.make_client()
    stack.callback(client.close)
    try:
        os.write(start, b"1")  # it may begin
        await conmon.wait_ready(attach)
        conmon.connect(client, plan.bundle)
        os.write(start, b"1")  # somebody listens: it may start the process
        pid = await conmon.wait_started(monitor)
    except FailedPrecondition as error:
        raise refusal(plan, error.why or runtime_log(plan.bundle)) from None
    except OSError as error:
        raise refusal(plan, str(error)) from None
    return TerminalSession(plan.bundle, monitor.identity, identify_started(pid, monitor), client)


def _output_pipe(stack: AsyncExitStack) -> tuple[int, int]:
    """Return the agent's reading end (closed by the stack) and the process's writing end."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    stack.callback(os.close, ours)
    os.set_blocking(ours, False)
    os.fchmod(theirs, 0o666)  # /dev/stdout can be opened again by any user of the container
    return ours, theirs


def identify_started(pid: int, monitor: conmon.Monitor) -> ProcessIdentity:
    """Return the identity of a process that its monitor reported; a quick one may be gone already, and its
    pid somebody else's.
    """
    identity = process.identify(pid)
    if identity is None or process.parent_of(pid) != monitor.identity.pid:
        return ProcessIdentity(pid, 0)
    return identity


def refusal(plan: ExecPlan, why: str) -> TricornError:
    arguments = [str(word) for word in plan.process.get("args", ())]
    words = oci.readable(why) or "the runtime gave no reason"
    if oci.refused(arguments, words):
        return InvalidArgument("the command can't be executed", why=words, field="args")
    return FailedPrecondition("the exec was refused", why=words)


def _peek(fd: int) -> str:
    with suppress(BlockingIOError):
        return os.read(fd, _CHUNK).decode(errors="replace")
    return ""


def runtime_log(bundle: Bundle) -> str:
    try:
        with open(bundle.file(RUNTIME_LOG), encoding="utf-8", errors="replace") as file:
            return file.read(_CHUNK)
    except FileNotFoundError:
        return ""


async def end_exec(bundle: Bundle, monitor: ProcessIdentity) -> None:
    """Make sure that an exec's process and monitor are gone; quick when they are."""
    with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
        if process.alive(monitor):
            await _kill_running(bundle, monitor)
        await conmon.wait_ended(monitor)


async def _kill_running(bundle: Bundle, monitor: ProcessIdentity) -> None:
    with trio.move_on_after(_STRAY_WAIT) as patience:
        while process.alive(monitor):
            pid = bundle.read_pid()
            identity = process.identify(pid) if pid else None
            if identity and process.parent_of(pid) == monitor.pid:
                kill_group(identity)
                await conmon.wait_ended(monitor)
            await trio.sleep(0.005)  # the runtime is about to write the pid, or the monitor to end
    if patience.cancelled_caught:
        log.warning("exec monitor killed", pid=monitor.pid, why="its process doesn't end")
        process.send(monitor, signal.SIGKILL)
        orphan = process.identify(bundle.read_pid())
        if orphan:
            await end_orphan(orphan)
