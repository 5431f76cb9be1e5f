"""The progress of long work on stderr: bars on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from uuid import uuid4

import click

from tricorn.cli.door import Door, ReportLine, calls
from tricorn.cli.figures import duration, short_digest, size
from tricorn.cli.output import clean
from tricorn.cli.settings import Settings
from tricorn.errors import NotFound, TricornError

OVER: Final = ("done", "skipped", "mounted")
MODES: Final = ("auto", "bars", "plain", "json", "none")
_SILENT: Final = ("started", "image", "create")  # nothing that a pipe's reader waits for
_PAUSE: Final = 5.0  # seconds between two plain lines about the whole
_GOODBYE: Final = 2.0  # seconds for the last of the progress

F = TypeVar("F", bound=Callable[..., Any])


def progress_options(function: F) -> F:
    """Add `--quiet` and `--progress` to a command, which gets `how` for `display`."""
    choice = click.Choice(MODES)
    shown = click.option(
        "--progress", "how", type=choice, default="auto", metavar="HOW",
        help="How to show progress: auto, bars, plain, json (lines on stderr) or none.",
    )(function)  # fmt: skip
    return click.option("-q", "--quiet", "how", flag_value="none", type=choice, help="Don't show progress.")(
        shown
    )


@contextmanager
def display(how: str = "auto") -> Iterator[ReportLine]:
    """Give the function that takes each line of progress; bars are gone from the screen at the end."""
    if how == "auto":
        how = "bars" if sys.stderr.isatty() else "plain"
    if how != "bars":
        yield {"plain": PlainProgress().report, "json": _as_json}.get(how, ignore)
        return
    bars = LazyBars()
    try:
        yield bars.report
    finally:
        bars.close()


def ignore(progress: dict[str, Any]) -> None:
    """Show nothing."""


def _as_json(progress: dict[str, Any]) -> None:
    click.echo(json.dumps(progress, ensure_ascii=False, separators=(",", ":")), err=True)


def new_identity() -> str:
    return uuid4().hex[:16]


@contextmanager
def watching(settings: Settings, report: ReportLine) -> Iterator[str]:
    """Give the id that an operation shall have, whose progress comes over a connection of its own; empty
    when nobody wants to see it.
    """
    if report is ignore:
        yield ""
        return
    identity, over = new_identity(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(settings, identity, report, over), daemon=True)
    watcher.start()
    try:
        yield identity
    finally:
        over.set()
        watcher.join(_GOODBYE)


def _watch(settings: Settings, identity: str, report: ReportLine, over: threading.Event) -> None:
    door = Door(settings.socket)
    try:
        while True:
            last = over.is_set()  # work that was quick is still known when it has ended
            try:
                for line in door.lines(calls.operation_progress(settings.namespace, identity)):
                    report(line)
            except NotFound:  # the agent hasn't begun, or never did
                if last:
                    return
                over.wait(0.05)
            else:
                return
    except TricornError:
        return  # the work itself tells what is wrong
    finally:
        door.close()


class PlainProgress:
    """Prints a line when the phase changes, when a layer is complete, and now and then about the whole."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._phase = ""
        self._over: set[str] = set()
        self._told = clock()

    def report(self, progress: dict[str, Any]) -> None:
        for each in progress.get("objects") or ():
            self._object(each)
        phase = progress.get("phase", "")
        if phase not in _SILENT and phase != self._phase:
            self._phase = phase
            message = progress.get("message") or ""
            self._say(f"{phase}: {message}" if message else phase)
            self._told = self._clock()
        elif self._clock() - self._told >= _PAUSE and progress.get("total"):
            self._told = self._clock()
            self._say(f"{phase}: {whole(progress)}")

    def _object(self, each: dict[str, Any]) -> None:
        digest = each["digest"]
        if each["kind"] == "layer" and each["phase"] in OVER and digest not in self._over:
            self._over.add(digest)
            self._say(f"layer {short_digest(digest)}: {each['phase']} ({size(each.get('total', 0))})")

    def _say(self, text: str) -> None:
        click.echo(clean(text), err=True)


def whole(progress: dict[str, Any]) -> str:
    """Return how far the whole is: 1.0 MiB of 4.0 MiB, 2.0 MiB/s, 2s left."""
    parts = [f"{size(progress.get('offset') or 0)} of {size(progress['total'])}"]
    if rate := progress.get("rate"):
        parts.append(f"{size(rate)}/s")
    if (eta := progress.get("eta")) is not None:
        parts.append(f"{duration(eta)} left")
    return ", ".join(parts)


class LazyBars:
    """Shows bars once there is something to show: without long work rich is never imported."""

    def __init__(self) -> None:
        self._bars: Any = None

    def report(self, progress: dict[str, Any]) -> None:
        if self._bars is None:
            if not progress.get("objects") and not progress.get("message") and not progress.get("offset"):
                return
            from tricorn.cli.bars import Bars

            self._bars = Bars()
        self._bars.report(progress)

    def close(self) -> None:
        if self._bars is not None:
            self._bars.close()
