"""A monitor that was started before its container's bundle is complete, and waits for that: it takes a few
milliseconds to start, in which mounts are made and the config is written.

When the agent ends, the pipe does, and the monitor goes on: the runtime then finds what is there of the
bundle, and the next agent takes away what came of it.
"""

from __future__ import annotations

import os
import signal
from typing import Self

import trio

from tricorn import limits
from tricorn.runtime import conmon, process
from tricorn.runtime.conmon import Monitor
from tricorn.runtime.wiring import Wiring


class StartPipe:
    """A pipe whose other end the monitor reads before it does anything."""

    def __init__(self) -> None:
        self.theirs, self._ours = os.pipe2(os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self.theirs, self._ours):
            os.close(end)

    def write(self) -> None:
        os.write(self._ours, b"1")


class WaitingMonitor:
    """`go` or `give_up`, once; the monitor is `_started`'s after `go`."""

    def __init__(self, monitor: Monitor, wiring: Wiring, start: StartPipe) -> None:
        self.monitor = monitor
        self.wiring = wiring
        self._start: StartPipe | None = start

    def go(self) -> None:
        """The bundle is complete."""
        assert self._start is not None, "a monitor is let go once"
        self._start.write()
        self._start = None

    async def give_up(self) -> None:
        """End the monitor, which has made nothing, unless it was let go."""
        if self._start is None:
            return
        self._start = None
        self.monitor.close()
        process.send(self.monitor.identity, signal.SIGKILL)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
            await conmon.wait_ended(self.monitor.identity)
