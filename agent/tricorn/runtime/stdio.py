"""Live stdio of containers: output from the log as it grows, input through the monitor's attach socket.

Output comes from the log, not from the attach socket, for three reasons: a client that stops reading can't
stop the container; attaching again loses nothing; and with a piped stdin the first attach client that
disconnects would close the container's stdin (conmon has no other way to close it).
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
from collections import deque
from contextlib import suppress
from typing import Final, Protocol, Self

import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound
from tricorn.model.records import ProcessIdentity
from tricorn.ports import StreamKind
from tricorn.runtime import conmon, process
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.logs import Follower, LogReader, Record
from tricorn.runtime.watch import Watch

_PACKET: Final = 16 * limits.KIB  # the monitor reads at most 32 KiB of a packet
END_OF_TRANSMISSION: Final = b"\x04"


class Input(Protocol):
    """The way to a process's stdin."""

    async def send(self, data: bytes) -> None: ...

    async def close(self) -> None:
        """Tell the process that there is no more; the way itself may stay open."""
        ...

    def release(self) -> None: ...


class NoInput:
    """For a process that was started without stdin."""

    async def send(self, data: bytes) -> None:  # noqa: ARG002 - the protocol's parameter
        raise FailedPrecondition(
            "the process has no stdin", hint="create the container with stdin or a terminal", field="stdin"
        )

    async def close(self) -> None:
        """Nothing was ever open."""

    def release(self) -> None:
        """Nothing is held."""


class SocketInput:
    """Input through a client end of the attach socket, in packets."""

    def __init__(self, client: socket.socket, *, terminal: bool) -> None:
        self._socket = client
        self._terminal = terminal

    async def send(self, data: bytes) -> None:
        """Send; NotFound when the process or its monitor is gone."""
        for start in range(0, len(data), _PACKET):
            await self._send_packet(data[start : start + _PACKET])

    async def _send_packet(self, packet: bytes) -> None:
        while True:
            try:
                self._socket.send(packet, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:
                raise NotFound("nobody reads the process's stdin any more", why=str(error)) from None
            else:
                return

    async def close(self) -> None:
        if self._terminal:  # a terminal has no end of file, only the character that stands for it
            await self.send(END_OF_TRANSMISSION)
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            await trio.lowlevel.checkpoint()

    def release(self) -> None:
        self._socket.close()


def terminal_input(bundle: Bundle) -> SocketInput:
    """Return a way to a container's terminal; any number may be open. NotFound if it doesn't run."""
    client = conmon.make_stdin_holder()
    try:
        conmon.connect(client, bundle)
    except OSError as error:
        client.close()
        raise NotFound("the container doesn't run", why=str(error)) from None
    return SocketInput(client, terminal=True)


def piped_input(monitor: ProcessIdentity) -> SocketInput:
    """Return the way to a container's piped stdin: the holder socket, borrowed from its monitor."""
    fd = process.borrow_descriptor(monitor, conmon.STDIN_FD)
    if fd is None:
        raise NotFound("the container doesn't run")
    os.set_blocking(fd, False)
    return SocketInput(socket.socket(fileno=fd), terminal=False)


class ContainerStream:
    """A StdioStream of a container's own process."""

    def __init__(self, reader: LogReader, watch: Watch, monitor: ProcessIdentity, input_: Input) -> None:
        self._monitor = monitor
        self._input = input_
        self._follower = follower(reader, watch, monitor)
        self._pending: deque[Record] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[StreamKind, bytes]:
        if not self._pending:
            self._pending.extend(await self._follower.batch())
        if not self._pending:
            raise StopAsyncIteration
        record = self._pending.popleft()
        return record.stream, record.raw()

    async def send(self, data: bytes) -> None:
        await self._input.send(data)

    async def close_stdin(self) -> None:
        await self._input.close()

    async def resize(self, rows: int, columns: int) -> None:
        await trio.lowlevel.checkpoint()
        resize_terminal(self._monitor, rows, columns)


def follower(
    reader: LogReader, watch: Watch, monitor: ProcessIdentity, deadline: float = float("inf")
) -> Follower:
    """Return a follower of a log until its monitor ended, or the deadline."""
    return Follower(
        reader,
        watch,
        lambda: not process.alive(monitor),
        lambda version: change_or_end(watch, version, monitor),
        deadline,
    )


def monitor_ended(monitor: ProcessIdentity) -> bool:
    """Return whether nothing more will be written to the log."""
    return not process.alive(monitor)


async def change_or_end(watch: Watch, version: int, monitor: ProcessIdentity) -> None:
    """Wait until the directory changed since `version` or the monitor ended."""
    async with trio.open_nursery() as nursery:

        async def until_end() -> None:
            await process.wait_gone(monitor)
            nursery.cancel_scope.cancel()

        nursery.start_soon(until_end)
        await watch.changed(version)
        nursery.cancel_scope.cancel()


def resize_terminal(monitor: ProcessIdentity, rows: int, columns: int) -> None:
    """Set the size of the terminal that a monitor holds; FailedPrecondition when the process has ended.

    Through the monitor's own descriptor: of two messages that reach conmon's control FIFO together it takes
    the first one twice.
    """
    if not (0 < rows < 65536 and 0 < columns < 65536):
        raise InvalidArgument("the terminal's size is out of range", why=f"{rows} rows, {columns} columns")
    fd = _terminal_of(monitor)
    if fd is None:
        raise FailedPrecondition("the terminal can't be resized", why="there is none (any more)")
    try:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    finally:
        os.close(fd)


def _terminal_of(monitor: ProcessIdentity) -> int | None:
    directory = f"/proc/{monitor.pid}/fd"
    with suppress(OSError):
        for name in os.listdir(directory):
            if os.readlink(f"{directory}/{name}").endswith("ptmx"):
                return process.borrow_descriptor(monitor, int(name))
    return None
