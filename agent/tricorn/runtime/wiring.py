"""The descriptors between one process, its monitor and its client, as the process is started."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from tricorn.model.records import ProcessIdentity
from tricorn.rules.stdio_places import Places
from tricorn.runtime import conmon
from tricorn.runtime.keeper import (
    CLIENT_FDS,
    CLIENT_FLIGHT,
    OUTPUT_FDS,
    STDIN_FLIGHT,
    TERMINAL_FD,
    Flight,
)
from tricorn.runtime.places import Opened
from tricorn.runtime.pumps import (
    Input,
    Output,
    PipeInput,
    PipeOutput,
    Pump,
    TerminalInput,
    TerminalOutput,
)

_NUMBERS: Final = {"stdout": 1, "stderr": 2}


class Wiring:
    """`given` is what the monitor is started with; `logger_ends` is what a logging program reads.

    After the start `release` closes the process's side here; `pump` hands the agent's over. What wasn't
    handed over is closed by `close`.
    """

    def __init__(self, places: Places, opened: Opened) -> None:
        self.given: dict[int, int] = {}
        self.logger_ends: list[int] = []
        self.client: socket.socket | None = None
        self._theirs = ExitStack()
        self._outputs: list[Output] = []
        self._stdin: Input | None = None
        self._opened = opened
        try:
            if places.terminal:
                self._wire_terminal(places)
            else:
                self._wire_stdin()
                for name in ("stdout", "stderr"):
                    self._wire_output(name, program=places.program is not None)
        except BaseException:
            self.close()
            raise

    def _give(self, number: int, fd: int) -> None:
        """Give a descriptor away: it is closed here once the monitor has it."""
        self._theirs.callback(os.close, fd)
        self.given[number] = fd

    def _wire_stdin(self) -> None:
        source = self._opened.take("stdin")
        if source >= 0:
            self._give(0, _blocking(source))
        if "stdin" not in self._opened.fifos:
            return
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        self._give(0, theirs)
        os.set_blocking(ours, False)
        flight = Flight.make()
        flight.hold(ours)
        self.given |= flight.descriptors(STDIN_FLIGHT)
        self._stdin = PipeInput(self._client_flight(), ours, flight)

    def _client_flight(self) -> Flight:
        kept = Flight.make()
        self.given |= kept.descriptors(CLIENT_FLIGHT)
        return kept

    def _wire_output(self, name: str, *, program: bool) -> None:
        sink = self._opened.take(name)
        number = _NUMBERS[name]
        if sink < 0 and not program:
            # named, for a monitor that is given no stderr gets the agent's notebook as its own
            self._give(number, os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            return
        if name not in self._opened.fifos and not program:
            self._give(number, _blocking(sink))
            return
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        self._give(number, theirs)
        os.fchmod(theirs, 0o666)  # /dev/stdout can be opened again by any user of the container
        self.given[OUTPUT_FDS[name]] = ours
        if program:
            self.logger_ends.append(ours)
            self._theirs.callback(os.close, ours)
        else:
            os.set_blocking(ours, False)
            if name not in self._opened.streams:
                self.given[CLIENT_FDS[name]] = sink
            self._outputs.append(PipeOutput(ours, sink))

    def _wire_terminal(self, places: Places) -> None:
        self.client = conmon.make_client()
        self.given[TERMINAL_FD] = self.client.fileno()
        sink = self._opened.take("stdout")
        if places.program:
            theirs, sink = os.pipe2(os.O_CLOEXEC)
            self._theirs.callback(os.close, theirs)
            os.set_blocking(sink, False)
            nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            self._theirs.callback(os.close, nothing)
            self.logger_ends = [theirs, nothing]
        if sink >= 0 and "stdout" not in self._opened.streams:
            self.given[CLIENT_FDS["stdout"]] = sink
        self._outputs.append(TerminalOutput(self.client, sink))
        if "stdin" in self._opened.fifos:
            self._stdin = TerminalInput(self._client_flight(), self.client.dup())

    def release(self) -> None:
        """Close what is the process's and the monitor's."""
        self._theirs.close()

    def pump(self, init: ProcessIdentity) -> Pump:
        """Hand over what is to be copied; to be called once the monitor runs."""
        outputs, stdin = self._outputs, self._stdin
        self._outputs, self._stdin = [], None
        return Pump(init, outputs, stdin)

    def close(self) -> None:
        self.release()
        self._opened.close()
        for output in self._outputs:
            output.close()
        if self._stdin:
            self._stdin.close()
        self._outputs, self._stdin = [], None


def _blocking(fd: int) -> int:
    """Take back for a process what was set to open the file without waiting."""
    os.set_blocking(fd, True)
    return fd


@contextmanager
def wired(places: Places, opened: Opened) -> Iterator[Wiring]:
    wiring = Wiring(places, opened)
    try:
        yield wiring
    finally:
        wiring.close()
