"""Copying between pipes: all of it, in order, and not for ever."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import trio

from tricorn.model.records import ProcessIdentity
from tricorn.runtime import process
from tricorn.runtime.keeper import Flight
from tricorn.runtime.pumps import PipeInput, PipeOutput, Pump, TerminalInput, TerminalOutput

WAIT = 30
HERE = process.identify(os.getpid()) or ProcessIdentity(0, 0)
GONE = ProcessIdentity(2**22 - 1, 1)


def pipe() -> tuple[int, int]:
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    return ends


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    return path


def ends_of(path: str) -> tuple[int, int]:
    """Return the agent's end (both ways, as it opens outputs) and a client's reading end."""
    sink = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    return sink, os.open(path, os.O_RDONLY | os.O_NONBLOCK)


async def read_all(fd: int) -> bytes:
    found = bytearray()
    with trio.fail_after(WAIT):
        while True:
            await trio.lowlevel.wait_readable(fd)
            try:
                data = os.read(fd, 65536)
            except BlockingIOError:
                continue
            if not data:
                return bytes(found)
            found += data


async def write_all(fd: int, data: bytes) -> None:
    os.set_blocking(fd, False)
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(fd)
    os.close(fd)


async def test_all_comes_through_in_order_and_ends(fifo):
    data = os.urandom(3_000_000)
    ours, theirs = pipe()
    sink, client = ends_of(fifo)
    pump = Pump(HERE, [PipeOutput(ours, sink)], None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.run)
        nursery.start_soon(write_all, theirs, data)
        assert await read_all(client) == data
    assert pump.finished.is_set()
    os.close(client)


async def test_output_ends_some_time_after_the_process_whoever_holds_it(fifo, monkeypatch):
    monkeypatch.setattr("tricorn.limits.EXEC_DRAIN", 0.05)
    ours, theirs = pipe()
    sink, client = ends_of(fifo)
    os.write(theirs, b"last")
    with trio.fail_after(WAIT):
        await Pump(GONE, [PipeOutput(ours, sink)], None).run()
    assert await read_all(client) == b"last"
    os.close(theirs)
    os.close(client)


async def test_a_client_that_takes_nothing_is_given_up_after_the_process(fifo, monkeypatch):
    monkeypatch.setattr("tricorn.limits.EXEC_DRAIN", 0.05)
    monkeypatch.setattr("tricorn.limits.STDIO_LINGER", 0.1)
    ours, theirs = pipe()
    sink, client = ends_of(fifo)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Pump(GONE, [PipeOutput(ours, sink)], None).run)
        with trio.fail_after(WAIT), pytest.raises(BrokenPipeError):
            await write_all(theirs, b"x" * 1_000_000)
    os.close(theirs)
    os.close(client)


def stdin(fifo: str) -> tuple[int, int, int, PipeInput]:
    """Return both ends of the client's FIFO, the process's end of its stdin, and what copies."""
    source = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    theirs, ours = pipe()
    os.set_blocking(ours, False)
    flight = Flight.make()
    flight.hold(ours)
    return source, writer, theirs, PipeInput(Flight.make(), ours, flight)


@pytest.mark.parametrize("early", [True, False])
async def test_input_ends_when_both_the_client_and_the_caller_want_it(fifo, early):
    source, writer, theirs, copier = stdin(fifo)
    client = os.open(fifo, os.O_WRONLY)
    pump = Pump(HERE, [], copier)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.run)
        if early:
            pump.end_stdin()
        pump.connect_stdin(source, writer)
        os.write(client, b"one")
        pump.end_stdin()
        os.write(client, b"two")
        os.close(client)
        assert await read_all(theirs) == b"onetwo"
        pump.end_stdin()
        nursery.cancel_scope.cancel()
    os.close(theirs)


async def test_input_that_comes_after_the_process_is_let_go(fifo):
    source, writer, theirs, copier = stdin(fifo)
    pump = Pump(GONE, [], copier)
    with trio.fail_after(WAIT):
        await pump.run()
    pump.connect_stdin(source, writer)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(source)
    os.close(theirs)


async def test_input_from_nothing_is_at_its_end(fifo):
    source, writer, theirs, copier = stdin(fifo)
    os.close(source)
    os.close(writer)
    async with trio.open_nursery() as nursery:
        pump = Pump(HERE, [], copier)
        nursery.start_soon(pump.run)
        pump.connect_stdin(-1, -1)
        assert await read_all(theirs) == b""
        nursery.cancel_scope.cancel()
    os.close(theirs)


async def test_a_process_that_closes_its_stdin_ends_the_copying(fifo):
    source, writer, theirs, copier = stdin(fifo)
    client = os.open(fifo, os.O_WRONLY)
    async with trio.open_nursery() as nursery:
        pump = Pump(HERE, [], copier)
        pump.connect_stdin(source, writer)
        nursery.start_soon(pump.run)
        os.close(theirs)
        with trio.fail_after(WAIT):
            while True:
                try:
                    os.write(client, b"x")
                except BrokenPipeError:
                    break
                await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    os.close(client)


def terminal() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


async def test_packets_of_a_terminal_lose_their_mark(fifo):
    sink, client = ends_of(fifo)
    ours, monitor = terminal()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Pump(HERE, [TerminalOutput(ours, sink)], None).run)
        for word in (b"one ", b"two"):
            monitor.send(b"\2" + word)
        monitor.close()
        assert await read_all(client) == b"one two"
    os.close(client)


async def test_a_terminal_that_nobody_reads_is_drained_after_the_process(fifo, monkeypatch):
    monkeypatch.setattr("tricorn.limits.EXEC_DRAIN", 0.05)
    monkeypatch.setattr("tricorn.limits.STDIO_LINGER", 0.1)
    sink, client = ends_of(fifo)
    ours, monitor = terminal()
    monitor.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Pump(GONE, [TerminalOutput(ours, sink)], None).run)
        with trio.fail_after(WAIT):
            for _ in range(100):  # more than FIFO and socket hold
                while True:
                    try:
                        monitor.send(b"\2" + b"x" * 8192)
                    except BlockingIOError:
                        await trio.lowlevel.wait_writable(monitor)
                    else:
                        break
        monitor.close()
    os.close(client)


async def test_input_of_a_terminal_goes_to_its_monitor(fifo):
    source = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    ours, monitor = terminal()
    client = os.open(fifo, os.O_WRONLY)
    async with trio.open_nursery() as nursery:
        pump = Pump(HERE, [], TerminalInput(Flight.make(), ours))
        pump.connect_stdin(source, writer)
        nursery.start_soon(pump.run)
        os.write(client, b"typed")
        with trio.fail_after(WAIT):
            await trio.lowlevel.wait_readable(monitor)
        assert monitor.recv(100) == b"typed"
        nursery.cancel_scope.cancel()
    monitor.close()
    os.close(client)
