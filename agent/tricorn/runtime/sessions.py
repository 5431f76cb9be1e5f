"""The live sides of execs: pipes or a terminal, and the end of the process."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Self

import structlog
import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition, NotFound
from tricorn.model.records import ProcessIdentity
from tricorn.ports import Exit, StreamKind
from tricorn.runtime import conmon, process
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.stdio import Input, SocketInput, resize_terminal

log = structlog.get_logger(__name__)
_CHUNK: Final = 64 * limits.KIB
_PACKET: Final = 8 * limits.KIB + 64


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
        resize_terminal(self._monitor, rows, columns)

    async def wait(self) -> Exit:
        await conmon.wait_ended(self._monitor)
        ended = self._bundle.read_exit()
        if ended is None:
            await end_orphan(self._init)
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


async def end_orphan(init: ProcessIdentity) -> None:
    """Kill a process that lost its monitor, and reap it if it came to the agent."""
    kill_group(init)
    await process.wait_gone(init)
    process.reap(init.pid)


def kill_group(identity: ProcessIdentity) -> None:
    if process.send(identity, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(identity.pid, signal.SIGKILL)
