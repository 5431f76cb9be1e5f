"""`make bench`: Tricorn beside two releases of containerd, on one machine, in alternating rounds.

Needs root. Keeps its downloads and images in .bench/ for the next time. Exits with 1 if a bound is broken.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import measures
import report
from attrs import evolve
from rich.console import Console
from rig import Measurement
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
        "--only", metavar="NAME", default="", help=f"comma-separated of: {', '.join(measures.ALL)}"
    )
    parser.add_argument("--rounds", type=int, help="alternating rounds of each measurement")
    parser.add_argument("--no-check", action="store_true", help="report broken bounds, but exit with 0")
    return parser.parse_args()


def chosen(only: str) -> list[str]:
    names = [name.strip() for name in only.split(",") if name.strip()] or list(measures.ALL)
    if unknown := set(names) - set(measures.ALL):
        sys.exit(f"no measurement {', '.join(sorted(unknown))}: choose from {', '.join(measures.ALL)}")
    return names


def main() -> int:
    options = arguments()
    names = chosen(options.only)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    plan = QUICK if options.quick else Plan()
    if options.rounds:
        plan = evolve(plan, rounds=options.rounds, pulls=options.rounds)
    results: list[Measurement] = []
    console.print("[dim]preparing: the peers, a journaled file system, a registry, images[/]")
    with stage(plan, WORK) as ground:
        versions = ground.versions()
        console.print(", ".join(f"{name} {version}" for name, version in versions.items()), "\n")
        for name in names:
            with console.status(name):
                results.append(measures.ALL[name](ground))
            report.show(console, results[-1])
    if not options.quick and not options.only:
        report.write(RESULTS, results, versions)
        console.print(f"written to {RESULTS.relative_to(PROJECT)}/latest.md and latest.json")
    failures = [failure for result in results for failure in result.failures()]
    for failure in failures:
        console.print(f"[red]✗[/] {failure}")
    return 1 if failures and not options.no_check else 0


if __name__ == "__main__":
    sys.exit(main())
