"""Taking up the stdio of a process that an earlier agent started: the monitor kept what was needed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from tricorn.model.records import ProcessIdentity
from tricorn.ports import Created
from tricorn.rules.stdio_places import Place, Places
from tricorn.runtime import process
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.keeper import (
    CLIENT_FDS,
    CLIENT_FLIGHT,
    OUTPUT_FDS,
    STDIN_FLIGHT,
    TERMINAL_FD,
    Flight,
)
from tricorn.runtime.pumps import Input, Output, PipeInput, PipeOutput, Pump, TerminalInput, TerminalOutput
from tricorn.runtime.stream_ends import Reopened

_ENDED: Final = "stdin-ended"  # a file in the bundle: the client asked for the end of stdin


def pump_again(places: Places, created: Created, bundle: Bundle, streams: Reopened) -> Pump | None:
    """Return what goes on with the copying, None if there is nothing to copy (any more)."""
    monitor = created.monitor
    outputs: list[Output] = []
    kept = Flight.of(monitor, CLIENT_FLIGHT)
    if places.terminal:
        end = process.borrow_descriptor(monitor, TERMINAL_FD)
        if end is None:
            return None
        client = socket.socket(fileno=end)
        stdin: Input | None = TerminalInput(kept, client.dup()) if kept else None
        sink = _sink(monitor, "stdout", places, streams)
        outputs.append(TerminalOutput(client, -1 if sink is None else sink))
    else:
        stdin = _pipe_input(kept, monitor) if kept else None
        outputs += _pipe_outputs(monitor, places, streams)
    if stdin and places.stdin.stream:
        _connect_stream(stdin, places.stdin, bundle, streams)
    elif stdin and kept:
        _connect(stdin, kept, bundle)
    return Pump(created.init, outputs, stdin) if outputs or stdin else None


def _connect(stdin: Input, kept: Flight, bundle: Bundle) -> None:
    """Go on with the client's FIFO if the process had been started, and it with it."""
    if was_ended(bundle):
        stdin.end()
    source = kept.copy()
    if source is not None:
        writer = os.open(f"/proc/self/fd/{source}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        stdin.connect(source, writer, keep=False)


def _connect_stream(stdin: Input, place: Place, bundle: Bundle, streams: Reopened) -> None:
    if was_ended(bundle):
        stdin.connect(-1, -1, keep=False)
    else:
        streams.connect(stdin, place, partial(end_noted, bundle, stdin.end))


def _sink(monitor: ProcessIdentity, name: str, places: Places, streams: Reopened) -> int | None:
    """Return the client's end of an output: the one that the monitor kept, or a new one into a stream."""
    place: Place = getattr(places, name)
    return streams.output(place) if place.stream else process.borrow_descriptor(monitor, CLIENT_FDS[name])


def _pipe_outputs(monitor: ProcessIdentity, places: Places, streams: Reopened) -> list[Output]:
    """A logging program's output isn't the agent's to copy: it has no client's end."""
    outputs: list[Output] = []
    for name, number in OUTPUT_FDS.items():
        sink = _sink(monitor, name, places, streams)
        source = process.borrow_descriptor(monitor, number) if sink is not None else None
        if source is not None and sink is not None:
            outputs.append(PipeOutput(source, sink))
        elif sink is not None:
            os.close(sink)
    return outputs


def _pipe_input(kept: Flight, monitor: ProcessIdentity) -> Input | None:
    flight = Flight.of(monitor, STDIN_FLIGHT)
    sink = flight.copy() if flight else None
    if flight and sink is not None:
        return PipeInput(kept, sink, flight)
    for one in (kept, flight):  # it had its end before: nothing is to come any more
        if one:
            one.close()
    return None


def end_unpumped(monitor: ProcessIdentity) -> None:
    """Let go of the writing end of a stdin that nobody copies into."""
    flight = Flight.of(monitor, STDIN_FLIGHT)
    if flight:
        flight.drop()
        flight.close()


def end_noted(bundle: Bundle, end: Callable[[], None]) -> None:
    """End a stdin whose client has ended its stream, for later agents, too."""
    with suppress(OSError):  # the process is gone, and its bundle with it
        note_ended(bundle)
    end()


def note_ended(bundle: Bundle) -> None:
    """Remember over restarts that the client asked for the end of stdin."""
    bundle.write(_ENDED, "")


def was_ended(bundle: Bundle) -> bool:
    return os.path.exists(bundle.file(_ENDED))
