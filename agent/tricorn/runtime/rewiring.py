"""Taking up the stdio of a process that an earlier agent started: the monitor kept what was needed."""

from __future__ import annotations

import os
import socket
from typing import Final

from tricorn.model.records import ProcessIdentity
from tricorn.ports import Created
from tricorn.rules.stdio_places import Places
from tricorn.runtime import process
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.keeper import CLIENT_FDS, OUTPUT_FDS, QUEUE_FD, StdinQueue
from tricorn.runtime.pumps import Input, Output, PipeInput, PipeOutput, Pump, TerminalInput, TerminalOutput

_ENDED: Final = "stdin-ended"  # a file in the bundle: the client asked for the end of stdin


def pump_again(places: Places, created: Created, bundle: Bundle) -> Pump | None:
    """Return what goes on with the copying, None if there is nothing to copy (any more)."""
    monitor = created.monitor
    outputs: list[Output] = []
    if places.terminal:
        end = process.borrow_descriptor(monitor, QUEUE_FD)
        if end is None:
            return None
        client = socket.socket(fileno=end)
        stdin: Input | None = _terminal_input(monitor, client)
        sink = process.borrow_descriptor(monitor, CLIENT_FDS["stdout"])
        outputs.append(TerminalOutput(client, -1 if sink is None else sink))
    else:
        stdin = _pipe_input(monitor)
        outputs += _pipe_outputs(monitor)
    if stdin and was_ended(bundle):
        stdin.end()
    return Pump(created.init, outputs, stdin) if outputs or stdin else None


def _client_input(monitor: ProcessIdentity) -> tuple[int, int] | None:
    """Return the client's FIFO of stdin and a writer that keeps it from its end."""
    source = process.borrow_descriptor(monitor, CLIENT_FDS["stdin"])
    if source is None:
        return None
    writer = os.open(f"/proc/self/fd/{source}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return source, writer


def _terminal_input(monitor: ProcessIdentity, client: socket.socket) -> Input | None:
    found = _client_input(monitor)
    return TerminalInput(*found, client.dup()) if found else None


def _pipe_outputs(monitor: ProcessIdentity) -> list[Output]:
    """A logging program's output isn't the agent's to copy: it has no client's end."""
    outputs: list[Output] = []
    for name, number in OUTPUT_FDS.items():
        sink = process.borrow_descriptor(monitor, CLIENT_FDS[name])
        source = process.borrow_descriptor(monitor, number) if sink is not None else None
        if source is not None and sink is not None:
            outputs.append(PipeOutput(source, sink))
    return outputs


def _pipe_input(monitor: ProcessIdentity) -> Input | None:
    found = _client_input(monitor)
    queue = StdinQueue.of(monitor) if found else None
    if queue is None or found is None:
        return None
    sink = queue.copy()
    if sink is None:  # ended before: nothing is to come any more
        queue.close()
        for fd in found:
            os.close(fd)
        return None
    return PipeInput(*found, sink, queue)


def end_unpumped(monitor: ProcessIdentity) -> None:
    """Let go of the writing end of a stdin that nobody copies into."""
    queue = StdinQueue.of(monitor)
    if queue:
        queue.drop()
        queue.close()


def note_ended(bundle: Bundle) -> None:
    """Remember over restarts that the client asked for the end of stdin."""
    bundle.write(_ENDED, "")


def was_ended(bundle: Bundle) -> bool:
    return os.path.exists(bundle.file(_ENDED))
