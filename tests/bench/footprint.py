"""The memory of one side: its daemon and all of that daemon's children, sampled while it works."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from attrs import Factory, define
from rig import CpuMeter

from tricorn_testing.processes import proportional_kib

INTERVAL = 0.1  # seconds between two samples: both sides pay for them alike


@define
class Footprint:
    """The largest sum of PSS (proportional set size, in MiB) of all processes that was seen."""

    meter: CpuMeter
    peak: float = 0.0
    _done: threading.Event = Factory(threading.Event)

    def look(self) -> None:
        processes = (self.meter.hierarchy / self.meter.name / "cgroup.procs").read_text().split()
        total = 0.0
        for pid in processes:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                total += proportional_kib(int(pid)) / 1024
        self.peak = max(self.peak, total)

    def run(self) -> None:
        while not self._done.wait(INTERVAL):
            self.look()

    def end(self) -> None:
        self._done.set()


@contextlib.contextmanager
def watching(meter: CpuMeter) -> Iterator[Footprint]:
    """Sample the processes of `meter` while the context is open."""
    footprint = Footprint(meter)
    thread = threading.Thread(target=footprint.run, daemon=True)
    thread.start()
    try:
        yield footprint
    finally:
        footprint.end()
        thread.join()
        footprint.look()
