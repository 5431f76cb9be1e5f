"""Copying between processes and their clients' FIFOs, until the process has ended and all is over.

Bytes go from pipe to pipe inside the kernel. A client that doesn't read makes the process wait, as with
containerd; one that went away finds in its FIFO what came meanwhile.
"""

from __future__ import annotations

import os
import select
import socket
from contextlib import suppress
from typing import Final, Protocol

import structlog
import trio

from tricorn import limits
from tricorn.model.records import ProcessIdentity
from tricorn.runtime import process
from tricorn.runtime.keeper import Flight

log = structlog.get_logger(__name__)
_CHUNK: Final = 256 * limits.KIB
_READ: Final = 16 * limits.KIB  # the monitor reads at most 32 KiB of a packet
_SPLICE: Final = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE


class Output(Protocol):
    """One stream on its way to the client."""

    async def run(self) -> None: ...

    def pending(self) -> bool:
        """Return whether there is something that the client hasn't taken."""
        ...

    def close(self) -> None: ...


class PipeOutput:
    """From a pipe to a FIFO. Both are closed at the end of the pipe: the client sees its end of file."""

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink

    async def run(self) -> None:
        while await splice_some(self._source, self._sink):
            await trio.lowlevel.checkpoint()

    def pending(self) -> bool:
        return self._source >= 0 and _readable(self._source)

    def close(self) -> None:
        os.close(self._sink)  # first: the client waits for this
        os.close(self._source)
        self._source = -1


class TerminalOutput:
    """From a monitor's attach socket to a FIFO, a file or a logging program (or nowhere: -1).

    The monitor waits while nobody reads, and would not even tell the exit: so a sink that takes nothing is
    given up once `give_up` is called, and the rest is dropped.
    """

    def __init__(self, client: socket.socket, sink: int) -> None:
        self._client = client
        self._sink = sink
        self._stalled = False
        self._waiting: trio.CancelScope | None = None

    def pending(self) -> bool:
        return self._stalled

    async def run(self) -> None:
        while packet := await self._packet():
            await self._write(memoryview(packet)[1:])

    async def _packet(self) -> bytes:
        while True:
            try:
                return self._client.recv(_READ, socket.MSG_DONTWAIT)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._client)
            except OSError:
                return b""

    async def _write(self, data: memoryview) -> None:
        while data and self._sink >= 0:
            try:
                data = data[os.write(self._sink, data) :]
            except BlockingIOError:
                self._stalled = True
                with trio.CancelScope() as self._waiting:
                    await trio.lowlevel.wait_writable(self._sink)
                self._stalled = False
            except OSError:  # a logging program that ended, a full disk
                self.give_up()

    def give_up(self) -> None:
        """Drop what comes from now on; the client sees its end of file."""
        sink, self._sink = self._sink, -1
        if self._waiting:
            self._waiting.cancel()
        if sink >= 0:
            trio.lowlevel.notify_closing(sink)
            os.close(sink)

    def close(self) -> None:
        self.give_up()
        self._client.close()


class Input:
    """From the client's FIFO, once it is connected, to the process, until `end` was called and the client
    closed it, too. `kept` keeps the FIFO for a later agent.
    """

    def __init__(self, kept: Flight) -> None:
        self._kept = kept
        self._source = self._writer = -1
        self._connected = trio.Event()
        self._ended = self._closed = False

    def connect(self, source: int, writer: int, *, keep: bool = True) -> None:
        """Begin to copy from `source`; `writer` keeps it from its end. -1: there is nothing to copy."""
        self._source, self._writer = source, writer
        if self._closed:  # the process was quicker
            self.close()
            return
        if keep and source >= 0:
            self._kept.hold(source)
        if self._ended:
            self.end()
        self._connected.set()

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    def end(self) -> None:
        """Let the end of the client's input be the end of the process's: until now it was held open."""
        self._ended = True
        writer, self._writer = self._writer, -1
        if writer >= 0:
            os.close(writer)

    async def run(self) -> None:
        await self._connected.wait()
        await self._copy()

    async def _copy(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._closed = True
        self.end()
        self._kept.close()
        source, self._source = self._source, -1
        if source >= 0:
            os.close(source)


class PipeInput(Input):
    """Into a pipe, whose writing end is in `flight`, too."""

    def __init__(self, kept: Flight, sink: int, flight: Flight) -> None:
        super().__init__(kept)
        self._sink = sink
        self._flight = flight

    async def _copy(self) -> None:
        with suppress(BrokenPipeError):  # the process has closed its stdin
            while self._source >= 0 and await splice_some(self._source, self._sink):
                await trio.lowlevel.checkpoint()
        self._flight.drop()
        self._kept.drop()

    def close(self) -> None:
        sink, self._sink = self._sink, -1
        if sink >= 0:
            os.close(sink)
        self._flight.close()
        super().close()


class TerminalInput(Input):
    """Into a monitor's attach socket. A terminal has no end of file: at the client's the copying ends."""

    def __init__(self, kept: Flight, client: socket.socket) -> None:
        super().__init__(kept)
        self._client = client

    async def _copy(self) -> None:
        with suppress(OSError):  # the monitor ended
            while self._source >= 0 and (data := await self._read()):
                await self._send(data)
        self._kept.drop()

    async def _read(self) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._source)
            with suppress(BlockingIOError):
                return os.read(self._source, _READ)

    async def _send(self, data: bytes) -> None:
        while True:
            try:
                self._client.send(data, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._client)
            else:
                return

    def close(self) -> None:
        self._client.close()
        super().close()


async def splice_some(source: int, sink: int) -> int:
    """Move some bytes from pipe to pipe, waiting for either; return 0 at the end of `source`."""
    while True:
        try:
            return os.splice(source, sink, _CHUNK, flags=_SPLICE)
        except BlockingIOError:
            if _readable(source):
                await trio.lowlevel.wait_writable(sink)
            else:
                await trio.lowlevel.wait_readable(source)


def _readable(fd: int) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


class Pump:
    """The streams of one process. `run` ends when its output has: soon after the process, whoever else
    holds the other ends, and later only for a client that still has something to take.
    """

    def __init__(self, init: ProcessIdentity, outputs: list[Output], stdin: Input | None) -> None:
        self._init = init
        self._outputs = outputs
        self._stdin = stdin
        self._copying = trio.CancelScope()
        self.finished = trio.Event()

    @property
    def takes_input(self) -> bool:
        """Whether stdin waits for what is to be copied into it."""
        return self._stdin is not None and not self._stdin.connected

    def connect_stdin(self, source: int, writer: int, *, keep: bool = True) -> None:
        """Begin to copy from a client's FIFO (-1: from nothing); with `keep` a later agent can go on."""
        if self._stdin:
            self._stdin.connect(source, writer, keep=keep)

    def end_stdin(self) -> None:
        if self._stdin:
            self._stdin.end()

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_end)
                if self._stdin:
                    nursery.start_soon(self._feed, self._stdin)
                if self._outputs:
                    with self._copying:
                        await self._copy()
                else:
                    await process.wait_gone(self._init)
                nursery.cancel_scope.cancel()
        finally:
            self.finished.set()

    async def _feed(self, stdin: Input) -> None:
        try:
            await stdin.run()
        except OSError as error:
            log.warning("input broken off", pid=self._init.pid, why=str(error))
        finally:
            stdin.close()

    async def _copy(self) -> None:
        async with trio.open_nursery() as nursery:
            for output in self._outputs:
                nursery.start_soon(self._copy_one, output)

    async def _copy_one(self, output: Output) -> None:
        try:
            await output.run()
        except OSError as error:
            log.warning("output broken off", pid=self._init.pid, why=str(error))
        finally:
            output.close()

    async def _watch_end(self) -> None:
        """Once the process is gone, wait for output that still comes, but not for ever."""
        await process.wait_gone(self._init)
        started = trio.current_time()
        await trio.sleep(limits.EXEC_DRAIN)
        while any(output.pending() for output in self._outputs):
            if trio.current_time() - started > limits.STDIO_LINGER:
                break
            await trio.sleep(limits.EXEC_DRAIN / 10)
        log.info("output cut", pid=self._init.pid, why="the process ended and its output did not")
        terminals = [output for output in self._outputs if isinstance(output, TerminalOutput)]
        for terminal in terminals:
            terminal.give_up()
        if terminals:  # the monitor comes to its end once it can write all that is left
            await trio.sleep(limits.EXEC_DRAIN)
        self._copying.cancel()

    async def drained(self, seconds: float) -> None:
        """Wait until all is copied, at most so long; then it goes on behind."""
        with trio.move_on_after(seconds):
            await self.finished.wait()
