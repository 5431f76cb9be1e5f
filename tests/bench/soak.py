"""`make soak`: thousands of cycles of run, exec, kill and delete, the agent killed every so often.

Needs root. What the agent has of the machine is counted before and after; exits with 1 if anything is left.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import Counter
from pathlib import Path

import pictures
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tricorn_testing.daemon import Daemon
from tricorn_testing.inventory import FIELDS
from tricorn_testing.paths import short_directory
from tricorn_testing.registry import running_registry
from tricorn_testing.soaking import Outcome, Soak

WORK = Path(__file__).parents[2] / ".bench"
NAMESPACE = "soak"
NAMED = 5  # leaks of one kind that are listed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--cycles", type=int, default=2000, help="run, exec, kill, delete (2000)")
    parser.add_argument("--kill-every", type=int, default=100, help="cycles between kills of the agent (100)")
    parser.add_argument("--width", type=int, default=4, help="cycles under way at a time (4)")
    options = parser.parse_args()
    if min(options.cycles, options.kill_every, options.width) < 1:
        parser.error("numbers begin at 1")
    return options


def soak(options: argparse.Namespace, console: Console) -> Outcome:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with contextlib.ExitStack() as undo:
        (WORK / "layouts").mkdir(parents=True, exist_ok=True)
        registry = undo.enter_context(running_registry(WORK / "registry"))
        daemon = Daemon(undo.enter_context(short_directory()))
        undo.callback(daemon.clean_up)
        daemon.start()
        image = pictures.small(WORK / "layouts", registry).reference
        daemon.put(f"/v1/{NAMESPACE}/images", {"reference": image, "plain_http": True})
        bar = undo.enter_context(Progress(*columns, console=console))
        task = bar.add_task("cycles, agent killed 0 times", total=options.cycles)

        def progress(done: int, kills: int) -> None:
            bar.update(task, completed=done, description=f"cycles, agent killed {kills} times")

        work = Soak(daemon, image, NAMESPACE, options.cycles, options.kill_every, options.width, progress)
        try:
            return work.run()
        except BaseException:
            console.print(daemon.log[-4000:], markup=False)
            raise


def show(console: Console, outcome: Outcome) -> None:
    table = Table(title="what the agent has", title_justify="left", title_style="bold")
    for column in ("", "before", "after", "leaked"):
        table.add_column(column, justify="left" if not column else "right")
    before, after = outcome.before.counts(), outcome.after.counts()
    for name, title in FIELDS.items():
        leaked = len(outcome.leaked[name])
        table.add_row(title, str(before[name]), str(after[name]), f"[red]{leaked}[/]" if leaked else "0")
    console.print(table)
    for name, items in outcome.leaked.items():
        for text, count in Counter(items).most_common(NAMED):
            console.print(f"[red]✗[/] {FIELDS[name]}: {count} × {text}")
    first, last = (kib / 1024 for kib in outcome.resident)
    console.print(
        f"{outcome.cycles} cycles in {outcome.seconds:.0f} s, the agent killed {outcome.kills} times, "
        f"{outcome.interrupted} cycles cut short and done again; its memory was {first:.1f} MB at first, "
        f"{last:.1f} MB in the end"
    )


def main() -> int:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    outcome = soak(arguments(), console)
    show(console, outcome)
    console.print("nothing is left" if outcome.clean else "[red]something is left[/]")
    return 0 if outcome.clean else 1


if __name__ == "__main__":
    sys.exit(main())
