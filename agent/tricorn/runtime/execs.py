"""Further processes in a container, each with a monitor of its own.

Without a terminal the process writes straight into the agent's pipes (no copy, and end of file is seen).
With one, the monitor waits until the agent is attached before it starts the process: nothing is lost.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, Self

import structlog
import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound, TricornError
from tricorn.failpoints import failpoint
from tricorn.model.records import ProcessIdentity
from tricorn.ports import ExecSession, Exit, StreamKind
from tricorn.runtime import conmon, oci, process
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.stdio import Input, NoInput, SocketInput, resize_terminal

log = structlog.get_logger(__name__)
_CHUNK: Final = 64 * limits.KIB
_PACKET: Final = 8 * limits.KIB + 64
_STRAY_WAIT: Final = 5.0
_RUNTIME_LOG: Final = "runtime.log"


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


class PipeInput:
    """Input through an anonymous pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if self._fd < 0:
                raise FailedPrecondition("the process's stdin is closed", field="stdin")
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._fd)
            except BrokenPipeError:
                raise NotFound("nobody reads the process's stdin any more") from None

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        self.release()

    def release(self) -> None:
        if self._fd >= 0:
            trio.lowlevel.notify_closing(self._fd)
            os.close(self._fd)
            self._fd = -1


class _Session:
    """What both kinds of ExecSession share. One task at a time may iterate; the rest is for any."""

    def __init__(
        self, bundle: Bundle, monitor: ProcessIdentity, init: ProcessIdentity, input_: Input
    ) -> None:
        self._bundle = bundle
        self._monitor = monitor
        self._init = init
        self._input = input_

    @property
    def pid(self) -> int:
        return self._init.pid

    async def send(self, data: bytes) -> None:
        await self._input.send(data)

    async def close_stdin(self) -> None:
        await self._input.close()

    async def resize(self, rows: int, columns: int) -> None:
        await trio.lowlevel.checkpoint()
        resize_terminal(self._bundle, rows, columns)

    async def wait(self) -> Exit:
        await conmon.wait_ended(self._monitor)
        ended = self._bundle.read_exit()
        if ended is None:
            await _end_orphan(self._init)
            return Exit(255, datetime.now(UTC), note="lost: the monitor of the process was killed")
        return Exit(*ended)

    async def kill(self, signal: int) -> None:
        await trio.lowlevel.checkpoint()
        if not process.send(self._init, signal):
            raise NotFound("the process has ended")


class PipeSession(_Session):
    """A process on anonymous pipes; output ends a few seconds after the process, whoever else holds it."""

    def __init__(
        self,
        bundle: Bundle,
        monitor: ProcessIdentity,
        init: ProcessIdentity,
        input_: Input,
        outputs: Mapping[int, StreamKind],
    ) -> None:
        super().__init__(bundle, monitor, init, input_)
        self._open = dict(outputs)
        self._deadline = float("inf")
        self._ended = process.open_process(monitor)
        self._poller = select.epoll()
        self._ready: deque[int] = deque()
        for fd in self._open:
            self._poller.register(fd, select.EPOLLIN)
        if self._ended is None:
            self._deadline = trio.current_time() + limits.EXEC_DRAIN
        else:
            self._poller.register(self._ended, select.EPOLLIN)

    def release(self) -> None:
        self._poller.close()
        if self._ended is not None:
            os.close(self._ended)
            self._ended = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[StreamKind, bytes]:
        while self._open:
            if not self._ready:
                await self._wait()
            if not self._ready and trio.current_time() >= self._deadline:
                log.info("exec output cut", pid=self.pid, why="a process left behind holds it open")
                break
            while self._ready:
                fd = self._ready.popleft()
                if fd == self._ended:
                    self._poller.unregister(fd)
                    self._deadline = trio.current_time() + limits.EXEC_DRAIN
                elif data := os.read(fd, _CHUNK):
                    return self._open[fd], data
                else:
                    self._poller.unregister(fd)
                    del self._open[fd]
        raise StopAsyncIteration

    async def _wait(self) -> None:
        await trio.lowlevel.checkpoint()
        events = self._poller.poll(0)
        if not events:
            with trio.move_on_at(self._deadline):
                await trio.lowlevel.wait_readable(self._poller.fileno())
            events = self._poller.poll(0)
        self._ready.extend(fd for fd, _mask in events)


class TerminalSession(_Session):
    """A process on a terminal, through its monitor's attach socket."""

    def __init__(
        self, bundle: Bundle, monitor: ProcessIdentity, init: ProcessIdentity, client: socket.socket
    ) -> None:
        super().__init__(bundle, monitor, init, SocketInput(client, terminal=True))
        self._client = client

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[StreamKind, bytes]:
        while True:
            try:
                packet = self._client.recv(_PACKET)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._client)
                continue
            except ConnectionError:
                packet = b""
            if not packet:
                raise StopAsyncIteration
            return ("stderr" if packet[0] == 3 else "stdout"), packet[1:]


@asynccontextmanager
async def run_exec(plan: ExecPlan) -> AsyncIterator[ExecSession]:
    """Start the process; on leaving, one that still runs is killed and nothing of it is left behind.

    Raises InvalidArgument when the command can't be executed, FailedPrecondition with the runtime's words.
    """
    async with AsyncExitStack() as stack:
        stack.callback(plan.bundle.remove)
        _write_process(plan)
        start = _start_on_terminal if plan.terminal else _start_on_pipes
        yield await start(plan, stack)


def _write_process(plan: ExecPlan) -> None:
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
        runtime += ["--log", plan.bundle.file(_RUNTIME_LOG)]
    argv = conmon.command(plan.conmon, plan.bundle, name, runtime, options)
    console = stack.enter_context(conmon.console_directory(plan.consoles)) if plan.terminal else {}
    monitor = conmon.launch(argv, plan.bundle, dict(plan.environment) | console, descriptors)
    stack.callback(monitor.close)
    stack.push_async_callback(_end, plan.bundle, monitor.identity)
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
        raise _refusal(plan, error.why or _peek(err)) from None
    init = _identify(pid, monitor)
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
        raise _refusal(plan, error.why or _runtime_log(plan.bundle)) from None
    except OSError as error:
        raise _refusal(plan, str(error)) from None
    return TerminalSession(plan.bundle, monitor.identity, _identify(pid, monitor), client)


def _output_pipe(stack: AsyncExitStack) -> tuple[int, int]:
    """Return the agent's reading end (closed by the stack) and the process's writing end."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    stack.callback(os.close, ours)
    os.set_blocking(ours, False)
    os.fchmod(theirs, 0o666)  # /dev/stdout can be opened again by any user of the container
    return ours, theirs


def _identify(pid: int, monitor: conmon.Monitor) -> ProcessIdentity:
    """Return the identity of a process that its monitor reported; a quick one may be gone already, and its
    pid somebody else's.
    """
    identity = process.identify(pid)
    if identity is None or process.parent_of(pid) != monitor.identity.pid:
        return ProcessIdentity(pid, 0)
    return identity


def _refusal(plan: ExecPlan, why: str) -> TricornError:
    arguments = [str(word) for word in plan.process.get("args", ())]
    words = oci.readable(why) or "the runtime gave no reason"
    if oci.refused(arguments, words):
        return InvalidArgument("the command can't be executed", why=words, field="args")
    return FailedPrecondition("the exec was refused", why=words)


def _peek(fd: int) -> str:
    with suppress(BlockingIOError):
        return os.read(fd, _CHUNK).decode(errors="replace")
    return ""


def _runtime_log(bundle: Bundle) -> str:
    try:
        with open(bundle.file(_RUNTIME_LOG), encoding="utf-8", errors="replace") as file:
            return file.read(_CHUNK)
    except FileNotFoundError:
        return ""


async def _end(bundle: Bundle, monitor: ProcessIdentity) -> None:
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
                _kill_group(identity)
                await conmon.wait_ended(monitor)
            await trio.sleep(0.005)  # the runtime is about to write the pid, or the monitor to end
    if patience.cancelled_caught:
        log.warning("exec monitor killed", pid=monitor.pid, why="its process doesn't end")
        process.send(monitor, signal.SIGKILL)
        orphan = process.identify(bundle.read_pid())
        if orphan:
            await _end_orphan(orphan)


async def _end_orphan(init: ProcessIdentity) -> None:
    """Kill a process that lost its monitor, and reap it if it came to the agent."""
    _kill_group(init)
    await process.wait_gone(init)
    process.reap(init.pid)


def _kill_group(identity: ProcessIdentity) -> None:
    if process.send(identity, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(identity.pid, signal.SIGKILL)
