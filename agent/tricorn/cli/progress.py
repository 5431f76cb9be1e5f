"""A pull's progress: one bar per layer on a terminal, one line per event elsewhere. On stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from tricorn.cli.door import ReportLine
from tricorn.cli.figures import duration, short_digest, size
from tricorn.cli.output import clean

_OVER: Final = ("done", "exists")
_SILENT: Final = ("started", "image", "create")  # nothing that a pipe's reader waits for


@contextmanager
def display(*, quiet: bool = False) -> Iterator[ReportLine]:
    """Give the function that takes each Progress; the bars are gone from the screen at the end."""
    if quiet:
        yield _ignore
        return
    if not sys.stderr.isatty():
        yield PlainProgress().report
        return
    bars = LazyBars()
    try:
        yield bars.report
    finally:
        bars.close()


def _ignore(progress: dict[str, Any]) -> None:
    """Show nothing."""


class PlainProgress:
    """Prints a line when the phase changes and when a layer is complete."""

    def __init__(self) -> None:
        self._phase = ""
        self._complete: set[str] = set()

    def report(self, progress: dict[str, Any]) -> None:
        for layer in progress.get("layers") or ():
            if layer["phase"] in _OVER and layer["digest"] not in self._complete:
                self._complete.add(layer["digest"])
                name = short_digest(layer["digest"])
                self._say(f"layer {name}: {layer['phase']} ({size(layer.get('total', 0))})")
        phase = progress.get("phase", "")
        if phase not in _SILENT and phase != self._phase:
            self._phase = phase
            message = progress.get("message") or ""
            self._say(f"{phase}: {message}" if message else phase)

    def _say(self, text: str) -> None:
        click.echo(clean(text), err=True)


class LazyBars:
    """Shows bars once there is something to show: without a pull rich is never imported."""

    def __init__(self) -> None:
        self._bars: Any = None

    def report(self, progress: dict[str, Any]) -> None:
        if self._bars is None:
            if not progress.get("layers") and not progress.get("message"):
                return
            from tricorn.cli.bars import Bars

            self._bars = Bars()
        self._bars.report(progress)

    def close(self) -> None:
        if self._bars is not None:
            self._bars.close()


class Meter:
    """The rate of a growing count over its last seconds, and the time left."""

    def __init__(self, clock: Any = time.monotonic) -> None:
        self._clock = clock
        self._samples: list[tuple[float, float]] = []

    def update(self, count: float) -> None:
        """Note the count; one that shrinks begins anew (another phase)."""
        if self._samples and count < self._samples[-1][1]:
            self._samples.clear()
        now = self._clock()
        self._samples.append((now, count))
        while len(self._samples) > 2 and now - self._samples[0][0] > 5:
            self._samples.pop(0)

    @property
    def rate(self) -> float:
        """Bytes per second."""
        if len(self._samples) < 2:
            return 0.0
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def left(self, total: float) -> str:
        """Return the time until `total` as text, empty while it can't be told."""
        if not self.rate:
            return ""
        return duration(max(total - self._samples[-1][1], 0) / self.rate)
