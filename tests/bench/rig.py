"""The ground both sides stand on: a journaled file system, cgroups that count their CPU time, statistics."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from attrs import Factory, define, frozen

FILESYSTEM_SIZE = "32G"  # sparse
_QUIET = 4  # looks, a tenth of a second apart, at disks on which nothing changes
_REST = 5.0  # seconds for each gigabyte
_SETTLING = 20.0  # seconds after which somebody else writes there
_LEAVING = 10.0  # seconds that what a side started may take to end
Kind = Literal["wall", "cpu", "peak"]


@contextlib.contextmanager
def journaled_filesystem(image: Path, point: Path) -> Iterator[Path]:
    """Mount a fresh ext4 in a loop file. Without a journal (as some machines' roots are) freed inodes stay
    unusable for minutes, and unpacking what was just removed is ten times slower for whoever comes second.
    """
    image.unlink(missing_ok=True)
    point.mkdir(parents=True, exist_ok=True)
    subprocess.run(["truncate", "--size", FILESYSTEM_SIZE, str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,nodiscard", str(image)], check=True)
    _mount(image, point)
    try:
        yield point
    finally:
        for _ in range(20):
            if subprocess.run(["umount", str(point)], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.5)
        else:
            subprocess.run(["umount", "--lazy", str(point)], check=False)
        image.unlink()


def _mount(image: Path, point: Path) -> None:
    """Mount it by a loop device that goes around the page cache of the file system below. Through that cache,
    as mount(8) does it, all is cached and copied twice: no disk does that, writing takes twice as long, and
    what the kernel copies for one side is still at work in the next one's turn.
    """
    command = ["losetup", "--direct-io=on", "--find", "--show", str(image)]
    device = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    try:
        subprocess.run(["mount", "-o", "discard", device, str(point)], check=True)
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)  # while mounted: with the unmount


def settle(written: int) -> None:
    """Wait until what was written is on the disks, and what was removed is discarded there, which the kernel
    does some time after the removal: who comes next would pay for it. Then rest for as long as fits the bytes
    `written` in each turn: on a virtual machine, turns of gigabytes that follow each other at once differ up
    to two times by what was before them.
    """
    os.sync()
    seen, quiet = "", 0
    deadline = time.monotonic() + _SETTLING
    while quiet < _QUIET and time.monotonic() < deadline:
        time.sleep(0.1)
        now = "".join(path.read_text() for path in sorted(Path("/sys/block").glob("loop*/stat")))
        seen, quiet = now, quiet + 1 if now == seen else 0
    time.sleep(written / 1e9 * _REST)


@define
class CpuMeter:
    """Counts the CPU seconds of one side: of everything started in its cgroup and of the cgroups below
    `parents`, where its containers live. Counts of removed children stay in their parents.
    """

    name: str
    parents: Sequence[str] = ()

    def __attrs_post_init__(self) -> None:
        for place in self._places():
            place.mkdir(parents=True, exist_ok=True)

    @property
    def hierarchy(self) -> Path:
        v1 = Path("/sys/fs/cgroup/cpuacct")
        return v1 if v1.is_dir() else Path("/sys/fs/cgroup")

    def _places(self) -> list[Path]:
        return [self.hierarchy / name for name in (self.name, *self.parents)]

    def _elsewhere(self) -> list[Path]:
        return [place for name in self.parents for place in Path("/sys/fs/cgroup").glob(f"*/{name}")]

    def join(self) -> None:
        """Move the calling process (a child before its exec) into the side's cgroup."""
        (self.hierarchy / self.name / "cgroup.procs").write_text(str(os.getpid()))

    def wrap(self, command: Sequence[str]) -> list[str]:
        """Return a command that joins the cgroup, then becomes `command`."""
        procs = self.hierarchy / self.name / "cgroup.procs"
        return ["sh", "-c", f'echo $$ > "{procs}" && exec "$@"', "sh", *command]

    def seconds(self) -> float:
        return sum(map(_usage, self._places()))

    def remove(self) -> None:
        """Remove the cgroups, in every hierarchy that runtimes made them in, once what was in them has ended."""
        deadline = time.monotonic() + _LEAVING
        while (left := self._remove()) and time.monotonic() < deadline:
            time.sleep(0.1)
        if left:
            print(f"these cgroups stay, something runs in them: {', '.join(left)}", file=sys.stderr)

    def _remove(self) -> list[str]:
        """Return those that can't be removed yet."""
        left = []
        for place in [*self._places(), *self._elsewhere()]:
            for parent, _, _ in sorted(os.walk(place), reverse=True):
                try:
                    os.rmdir(parent)
                except OSError:
                    left.append(parent)
        return left


def _usage(place: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return int((place / "cpuacct.usage").read_text()) / 1e9
    with contextlib.suppress(FileNotFoundError):
        for line in (place / "cpu.stat").read_text().splitlines():
            if line.startswith("usage_usec"):
                return int(line.split()[1]) / 1e6
    return 0.0


@define
class Series:
    """Samples of one thing measured on one side: seconds of wall and CPU time, or memory in MB."""

    samples: list[float] = Factory(list)
    cpu: list[float] = Factory(list)
    peaks: list[float] = Factory(list)  # of the side's memory, MB
    rounds: list[float] = Factory(list)  # the median of each round

    def add_round(
        self, samples: Sequence[float], cpu: float | None = None, peak: float | None = None
    ) -> None:
        self.samples += samples
        self.rounds.append(statistics.median(samples))
        if cpu is not None:
            self.cpu.append(cpu / len(samples))
        if peak is not None:
            self.peaks.append(peak)

    def of(self, kind: Kind) -> list[float]:
        """Return what each round took of wall or CPU time, or of memory at its peak."""
        return {"wall": self.rounds, "cpu": self.cpu, "peak": self.peaks}[kind]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        return min(self.rounds), max(self.rounds)

    @property
    def median_cpu(self) -> float | None:
        return statistics.median(self.cpu) if self.cpu else None

    @property
    def peak(self) -> float | None:
        return max(self.peaks) if self.peaks else None


@frozen
class Bound:
    """Ours over theirs must not exceed `ratio`."""

    ours: str
    theirs: str
    ratio: float
    of: Kind = "wall"

    def measured(self, series: Mapping[str, Series]) -> float:
        """Return the median of the rounds' ratios: both sides of a round saw the same machine. A side that
        left out rounds did so at the end.
        """
        pairs = zip(series[self.ours].of(self.of), series[self.theirs].of(self.of), strict=False)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    def holds(self, series: Mapping[str, Series]) -> bool:
        return self.measured(series) <= self.ratio

    def verdict(self, series: Mapping[str, Series]) -> str:
        what = "CPU " if self.of == "cpu" else ""
        return f"{what}{self.measured(series):.2f} × {self.theirs} (at most {self.ratio:.2f})"


@frozen
class Ceiling:
    """Ours must not exceed `limit`, in the measurement's unit; of a peak, no round must, in MB."""

    ours: str
    limit: float
    of: Kind = "wall"

    def measured(self, series: Mapping[str, Series]) -> float:
        return max(series[self.ours].peaks) if self.of == "peak" else series[self.ours].median

    def holds(self, series: Mapping[str, Series]) -> bool:
        return self.measured(series) <= self.limit

    def verdict(self, series: Mapping[str, Series]) -> str:
        return (
            f"{self.measured(series):.0f} MB (at most {self.limit:g})"
            if self.of == "peak"
            else f"at most {self.limit:g}"
        )


@define
class Measurement:
    """One row group of the result: a thing measured on several sides."""

    name: str
    title: str
    unit: str  # ms, s or MB
    series: dict[str, Series] = Factory(dict)
    bounds: Sequence[Bound | Ceiling] = Factory(list)
    notes: list[str] = Factory(list)

    def side(self, name: str) -> Series:
        return self.series.setdefault(name, Series())

    def failures(self) -> list[str]:
        return [
            f"{self.name}: {bound.ours}: {bound.verdict(self.series)}"
            for bound in self.bounds
            if not bound.holds(self.series)
        ]


@contextlib.contextmanager
def stopwatch(into: list[float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    into.append(time.perf_counter() - began)


@define
class Laps:
    """Where the time of a sequence goes, step by step."""

    steps: dict[str, list[float]] = Factory(dict)

    @contextlib.contextmanager
    def time(self, step: str) -> Iterator[None]:
        with stopwatch(self.steps.setdefault(step, [])):
            yield

    def take(self) -> str:
        """Describe the medians in milliseconds, and forget the samples."""
        steps, self.steps = self.steps, {}
        return " + ".join(f"{step} {statistics.median(took) * 1000:.0f}" for step, took in steps.items())
