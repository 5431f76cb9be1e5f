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
from tricorn.runtime.keeper import OUTPUT_FDS, QUEUE_FD, StdinQueue
from tricorn.runtime.places import Opened
from tricorn.runtime.pumps import (
    DroppedOutput,
    Input,
    Output,
    PipeInput,
    PipeOutput,
    Pump,
    TerminalInput,
    TerminalOutput,
)

_KEPT: Final = dict(OUTPUT_FDS)
_ENDED: Final = "stdin-ended"  # a file in the bundle: the client asked for the end of stdin


def pump_again(places: Places, opened: Opened, created: Created, bundle: Bundle) -> Pump | None:
    """Return what goes on with the copying, None if there is nothing to copy (any more).

    Output whose FIFO is gone is dropped: the process must not wait for nobody.
    """
    outputs: list[Output] = []
    if places.terminal:
        client = process.borrow_descriptor(created.monitor, QUEUE_FD)
        if client is None:
            return None
        end = socket.socket(fileno=client)
        stdin: Input | None = _terminal_input(opened, end)
        outputs.append(TerminalOutput(end, _terminal_sink(places, opened, created.monitor)))
    else:
        stdin = _pipe_input(opened, created.monitor)
        if not places.program:
            outputs = _pipe_outputs(opened, created.monitor)
    if stdin and was_ended(bundle):
        stdin.end()
    return Pump(created.init, outputs, stdin) if outputs or stdin else None


def _terminal_sink(places: Places, opened: Opened, monitor: ProcessIdentity) -> int:
    if not places.program:
        return opened.take("stdout")
    kept = process.borrow_descriptor(monitor, _KEPT["stdout"])
    return -1 if kept is None else kept


def _terminal_input(opened: Opened, client: socket.socket) -> Input | None:
    if "stdin" not in opened.fifos:
        return None
    return TerminalInput(opened.take("stdin"), opened.take("writer"), client.dup())


def _pipe_outputs(opened: Opened, monitor: ProcessIdentity) -> list[Output]:
    outputs: list[Output] = []
    for name, number in OUTPUT_FDS:
        source = process.borrow_descriptor(monitor, number)
        if source is not None:
            os.set_blocking(source, False)
            sink = opened.take(name) if name in opened.fifos else -1
            outputs.append(PipeOutput(source, sink) if sink >= 0 else DroppedOutput(source))
    return outputs


def _pipe_input(opened: Opened, monitor: ProcessIdentity) -> Input | None:
    if "stdin" not in opened.fifos:
        return None
    queue = StdinQueue.of(monitor)
    sink = queue.copy() if queue else None
    if queue is None or sink is None:
        return None
    os.set_blocking(sink, False)
    return PipeInput(opened.take("stdin"), opened.take("writer"), sink, queue)


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
