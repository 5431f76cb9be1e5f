"""What a pull cannot do without, each part measured alone with the machine's own tools.

The floor assumes that everything overlaps perfectly: no less than the CPU time over all processors, and no
less than the one thread that decompresses.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import frozen
from shapes import Shape

from tricorn_testing.registry import Registry

_READ: Final = 1 << 20
_UNPACKERS: Final = {"gzip": ["igzip", "-dc"], "zstd": ["zstd", "-dcq"]}


@frozen
class Floor:
    """Seconds: of CPU (`unpack`, `digest`, `apply`, `receive`; the registry's, `serve`, which shares the
    processors), and of wall time to store the blobs durably (`store`).
    """

    unpack: float
    digest: float
    apply: float
    receive: float
    serve: float
    store: float
    longest: float  # one layer's decompression

    @property
    def cpu(self) -> float:
        return self.unpack + self.digest + self.apply + self.receive

    @property
    def wall(self) -> float:
        return max((self.cpu + self.serve) / (os.cpu_count() or 1), self.longest, self.store)

    def describe(self) -> str:
        return (
            f"floor: one thread's decompression {self.unpack:.2f} s, sha256 of blobs and tars {self.digest:.2f}, "
            f"tar -x {self.apply:.2f}, curl and the registry {self.receive:.2f} + {self.serve:.2f} s of CPU; "
            f"blobs to the disk {self.store:.2f} s"
        )


def measure(shape: Shape, registry: Registry, ground: Path) -> Floor:
    """Measure on the file system of `ground`, with all sources in the page cache."""
    blobs = shape.blobs()
    program = _UNPACKERS[shape.compression]
    spent = [_cpu(lambda blob=blob: _run([*program, str(blob)])) for blob in blobs]  # type: ignore[misc]  # called at once
    place = ground / "floor"
    digest = _cpu(lambda: _digest([*blobs, *shape.tars]))
    apply = _cpu(lambda: _untar(shape.tars, place))
    shutil.rmtree(place)
    receive, serve = _carry(shape, registry, place)
    os.sync()
    return Floor(sum(spent), digest, apply, receive, serve, _store(blobs, place), max(spent))


def _carry(shape: Shape, registry: Registry, place: Path) -> tuple[float, float]:
    """Return the CPU seconds of either end when a plain client downloads the blobs to files."""
    place.mkdir()
    command = ["curl", "-sf", "--remote-name-all", "--output-dir", str(place), *shape.addresses(registry)]
    before = _of_process(registry.process)
    receive = _cpu(lambda: _run(command))
    serve = _of_process(registry.process) - before
    shutil.rmtree(place)
    return receive, serve


def _of_process(process: int) -> float:
    spent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, spent)) / os.sysconf("SC_CLK_TCK")


def _cpu(work: Callable[[], None]) -> float:
    """Return the CPU seconds of `work` and of the processes that it waits for."""
    before = _used()
    work()
    return _used() - before


def _used() -> float:
    parts = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _digest(files: list[Path]) -> None:
    for file in files:
        with file.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")


def _untar(tars: tuple[Path, ...], place: Path) -> None:
    for number, tar in enumerate(tars):
        target = place / str(number)
        target.mkdir(parents=True)
        _run(["tar", "-x", "--numeric-owner", "-f", str(tar), "-C", str(target)])


def _store(blobs: list[Path], place: Path) -> float:
    began = time.perf_counter()
    with place.open("wb") as target:
        for blob in blobs:
            with blob.open("rb") as source:
                shutil.copyfileobj(source, target, _READ)
        target.flush()
        os.fsync(target.fileno())
    seconds = time.perf_counter() - began
    place.unlink()
    return seconds
