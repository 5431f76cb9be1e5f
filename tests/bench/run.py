"""`make bench`: Tricorn beside two releases of containerd, on one machine, in alternating rounds.

Needs root. Keeps its downloads and images in .bench/ for the next time. Exits with 1 if a bound is broken.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import measures
import report
from attrs import evolve
from rich.console import Console
from rig import Measurement
from shapes import SHAPES
from sides import QUICK, Plan, stage

PROJECT = Path(__file__).parents[2]
WORK = PROJECT / ".bench"
RESULTS = Path(__file__).parent / "results"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, smaller images; results aren't kept"
    )
    parser.add_argument(
        "--only", metavar="NAME", default="", help=f"comma-separated of: {', '.join(measures.NAMES)}"
    )
    parser.add_argument(
        "--shapes", metavar="NAME", default="",
        help=f"images that pull, push and import are measured with, comma-separated of: {', '.join(SHAPES)}",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, help="alternating rounds of each measurement")
    parser.add_argument("--no-check", action="store_true", help="report broken bounds, but exit with 0")
    return parser.parse_args()


def chosen(what: str, listed: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a comma-separated list, all that are known if it is empty."""
    names = tuple(name.strip() for name in listed.split(",") if name.strip()) or tuple(known)
    if unknown := set(names) - set(known):
        sys.exit(f"no {what} {', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    return names


def main() -> int:
    options = arguments()
    names = chosen("measurement", options.only, measures.NAMES)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    shapes = chosen("shape", options.shapes, tuple(SHAPES))
    plan = evolve(QUICK if options.quick else Plan(), shapes=shapes)
    if options.rounds:
        plan = evolve(plan, rounds=options.rounds, pulls=options.rounds)
    results: list[Measurement] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # cleans up, as Ctrl-C does
    console.print("[dim]preparing: the peers, a journaled file system, a registry, images[/]")
    with stage(plan, WORK) as ground:
        versions = ground.versions()
        console.print(", ".join(f"{name} {version}" for name, version in versions.items()), "\n")
        for name in names:
            with console.status(name):
                for result in measures.measure(name, ground):
                    results.append(result)
                    report.show(console, result)
                    if not options.quick:  # at once: what is measured stays, whatever comes after
                        report.write(RESULTS, [result], versions, measures.NAMES)
    if not options.quick:
        console.print(f"written to {RESULTS.relative_to(PROJECT)}/latest.md, .json and .svg")
    failures = [failure for result in results for failure in result.failures()]
    for failure in failures:
        console.print(f"[red]✗[/] {failure}")
    return 1 if failures and not options.no_check else 0


if __name__ == "__main__":
    sys.exit(main())
