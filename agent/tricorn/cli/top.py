"""`tricorn top`: what containers use, as it changes; and `tricorn pids`."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click
from attrs import asdict

from tricorn.cli import complete
from tricorn.cli.door import calls
from tricorn.cli.figures import parse_duration, size
from tricorn.cli.output import clean, each, emit_json, emit_line, fit, table
from tricorn.cli.rates import SORTS, Row, in_order, rows
from tricorn.cli.settings import Settings, command

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_EXAMPLES = """\
tricorn top
tricorn top -A --sort memory
tricorn top --once web db
tricorn --json top --once | jq '.[].cpu'"""
_COLUMNS: Final = (
    "ID",
    "STATUS",
    "CPU %",
    "MEMORY",
    "LIMIT",
    "MEM %",
    "PIDS",
    "READ/s",
    "WRITE/s",
    "IN/s",
    "OUT/s",
)
_LEAST: Final = 0.1  # seconds between two samples


@command("top", examples=_EXAMPLES)
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("-s", "--sort", type=click.Choice(SORTS), default="cpu", show_default=True)
@click.option(
    "-i", "--interval", default="2s", show_default=True, metavar="DURATION", help="Between samples."
)
@click.option("--once", is_flag=True, help="Print once what one interval shows, and leave.")
@click.argument("names", nargs=-1, metavar="[CONTAINER]...", shell_complete=complete.containers)
def top(
    settings: Settings, *, all_namespaces: bool, sort: str, interval: str, once: bool, names: tuple[str, ...]
) -> None:
    """Show what running containers use: CPU, memory, processes, devices, network.

    CPU is in percent of one CPU; memory is without the pages of files that could be dropped. On a terminal
    the view is drawn anew at each interval: c, m, i, o, p and n sort by CPU, memory, devices, network,
    processes and name, q leaves. --json prints a list, without --once one per line.
    """
    if all_namespaces and names:
        raise click.UsageError("names are those of one namespace: leave -A out")
    pause = max(parse_duration(interval, "--interval"), _LEAST)
    view = _View(settings, None if all_namespaces else settings.namespace, names, sort)
    if once:
        view.look()
        time.sleep(pause)
        view.show(view.look())
    elif settings.json or not sys.stdout.isatty():
        while True:
            view.show(view.look())
            time.sleep(pause)
    else:
        _live(view, pause)


class _View:
    """The samples of the last look, and how they are shown."""

    def __init__(self, settings: Settings, namespace: str | None, names: Sequence[str], sort: str) -> None:
        self._settings = settings
        self._namespace = namespace
        self._names = names
        self._before: list[dict[str, Any]] = []
        self.sort = sort
        self.again = False

    def look(self) -> list[Row]:
        """Take samples; return what was used since those before."""
        found = self._settings.door.call(calls.samples(self._namespace, self._names))["items"]
        made = rows(self._before, found)
        self._before = found
        return in_order(made, self.sort)

    def show(self, found: Sequence[Row]) -> None:
        if self._settings.json:
            listed = [asdict(row) for row in found]
            (emit_line if self.again else emit_json)(listed)
        else:
            if self.again:
                click.echo()
            table(self.columns, self.lines(found))
        sys.stdout.flush()
        self.again = True

    @property
    def columns(self) -> tuple[str, ...]:
        return _COLUMNS if self._namespace else ("NAMESPACE", *_COLUMNS)

    def lines(self, found: Sequence[Row]) -> list[tuple[str, ...]]:
        return [_cells(row) if self._namespace else (row.namespace, *_cells(row)) for row in found]


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.id, row.status, _text(row.cpu, _percent), _text(row.memory, size), _text(row.limit, size),
        _text(row.share, _percent), _text(row.pids, lambda value: f"{value:.0f}"),
        *(_text(rate, size) for rate in (row.read, row.write, row.received, row.sent)),
    )  # fmt: skip


def _text(value: float | None, form: Callable[[float], str]) -> str:
    return "-" if value is None else form(value)


def _percent(value: float) -> str:
    return f"{value:.1f}"


# ---------------------------------------------------------------- on a terminal
_KEYS: Final = {"c": "cpu", "m": "memory", "i": "io", "o": "net", "p": "pids", "n": "name"}


def _live(view: _View, pause: float) -> None:
    from rich.live import Live

    with _keys() as key, Live(screen=True, auto_refresh=False) as live:
        found = view.look()
        while True:
            _draw(live, view, found)
            pressed = key(pause)
            if pressed in {"q", "\x1b"}:
                return
            if pressed in _KEYS:
                view.sort = _KEYS[pressed]
                found = in_order(found, view.sort)
            else:
                found = view.look()


def _draw(live: Live, view: _View, found: Sequence[Row]) -> None:
    room = max(live.console.height - 3, 1)
    lines = [[clean(cell) for cell in line] for line in view.lines(found)]
    live.update(_screen(view, lines[:room], len(lines), live.console.width), refresh=True)


def _screen(view: _View, lines: Sequence[Sequence[str]], count: int, width: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    title = f"{count} running, by {view.sort}   sort: c m i o p n   leave: q"
    made = Table(box=None, pad_edge=False, title=title, title_justify="left", header_style="bold")
    text = ("NAMESPACE", "ID", "STATUS")
    for name in view.columns:
        made.add_column(name, no_wrap=True, justify="left" if name in text else "right")
    for row in fit([view.columns, *lines], width)[1:]:
        made.add_row(*map(Text, row))
    return made


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Give a function that returns the key that is pressed within so many seconds, "" for none."""
    import termios
    import tty

    if not sys.stdin.isatty():
        yield _asleep
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)

    def key(seconds: float) -> str:
        ready, _, _ = select.select([fd], [], [], seconds)
        return os.read(fd, 16).decode("ascii", "replace")[:1] if ready else ""

    try:
        tty.setcbreak(fd)
        yield key
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _asleep(seconds: float) -> str:
    time.sleep(seconds)
    return ""


# ---------------------------------------------------------------- processes
@command("pids", examples="tricorn pids web\ntricorn --json pids web | jq '.[].pid'")
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...", shell_complete=complete.containers)
def pids(settings: Settings, names: tuple[str, ...]) -> int:
    """List the processes of running containers, by the node's numbers."""

    def act(id: str) -> Any:
        found = settings.door.call(calls.processes(settings.namespace, id))["items"]
        if not settings.json:
            if len(names) > 1:
                click.echo(f"{id}:")
            table(("PID", "PARENT", "UID", "STATE", "MEMORY", "CPU", "COMMAND"), map(_process, found))
        return found

    return each(settings, names, act, say=False)


def _process(item: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(item["pid"]), str(item["parent"]), str(item["uid"]), item["state"], size(item["memory"]),
        f"{item['cpu_seconds']:.2f}", " ".join(item["args"]),
    )  # fmt: skip
