"""Shows measurements: a table for the terminal; Markdown, JSON and a picture for the record.

A partial run replaces what it measured in the record and leaves the rest.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import chart
from attrs import asdict
from rich.console import Console
from rich.table import Table
from rig import Measurement, Series

SCALE = {"ms": 1000.0, "s": 1.0, "MB": 1.0}
Document = dict[str, Any]


def show(console: Console, measurement: Measurement) -> None:
    """Print one measurement with its bounds as soon as it is there."""
    document = describe(measurement)
    table = Table(title=f"{measurement.name}: {measurement.title}", title_justify="left", title_style="bold")
    for column in header(document):
        table.add_column(column, justify="left" if column in {"side", "bound"} else "right")
    for row in rows(document):
        table.add_row(*row)
    console.print(table)
    for note in measurement.notes:
        console.print(f"  [dim]{note}[/]")
    console.print()


def header(document: Document) -> tuple[str, ...]:
    unit = document["shown_in"]
    memory = ("memory, MB",) if _has_memory(document) else ()
    return ("side", f"median, {unit}", "rounds", f"CPU, {unit}", *memory, "bound")


def rows(document: Document) -> Iterator[tuple[str, ...]]:
    scale = SCALE[document["shown_in"]]
    memory = _has_memory(document)
    for name, series in document["series"].items():
        rounds, cpu = series["rounds"], series["median_cpu"]
        marks = [bound["verdict"] for bound in document["bounds"] if bound["ours"] == name]
        peak = (figure(series["peak"]) if series["peak"] is not None else "",) if memory else ()
        yield (
            name,
            figure(series["median"] * scale),
            f"{figure(min(rounds) * scale)} to {figure(max(rounds) * scale)}" if len(rounds) > 1 else "",
            figure(cpu * scale) if cpu is not None else "",
            *peak,
            ", ".join(marks),
        )


def _has_memory(document: Document) -> bool:
    return any(series["peak"] is not None for series in document["series"].values())


def figure(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def machine() -> dict[str, Any]:
    return {
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "system": _pretty_name(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def _pretty_name() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def write(
    directory: Path, measurements: Sequence[Measurement], versions: Mapping[str, str], order: Sequence[str]
) -> None:
    """Write latest.md, latest.json and latest.svg: these measurements, and earlier ones of other things.

    `order` names the kinds of measurements, the first words of their names.
    """
    directory.mkdir(parents=True, exist_ok=True)
    fresh = [describe(measurement) for measurement in measurements]
    documents = _merged(_recorded(directory / "latest.json"), fresh, order)
    whole = {"machine": machine(), "versions": dict(versions), "measurements": documents}
    (directory / "latest.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    (directory / "latest.md").write_text(markdown(documents, versions))
    if picture := chart.draw(documents):
        (directory / "latest.svg").write_text(picture)


def _recorded(file: Path) -> list[Document]:
    """Return the earlier documents, unless they are of an older form."""
    if not file.exists():
        return []
    documents: list[Document] = json.loads(file.read_text())["measurements"]
    return [document for document in documents if "shown_in" in document]


def _merged(old: Sequence[Document], fresh: Sequence[Document], order: Sequence[str]) -> list[Document]:
    found = {document["name"]: document for document in [*old, *fresh]}

    def place(document: Document) -> int:
        name = document["name"]
        kinds = [kind for kind in order if name == kind or name.startswith(f"{kind}-")]
        return order.index(max(kinds, key=len)) if kinds else len(order)

    return sorted(found.values(), key=place)


def markdown(documents: Sequence[Document], versions: Mapping[str, str]) -> str:
    host = machine()
    lines = [
        "# Measured by `make bench`",
        "",
        f"{host['processors']} processors, kernel {host['kernel']}, {host['system']}; "
        + ", ".join(f"{name}: {version}" for name, version in versions.items())
        + ". Sides alternate within each round; the ratio is the median of the rounds' ratios. Memory: the "
        + "largest sum of PSS of the daemon and its children, ten samples a second.",
    ]
    if chart.draw(documents):
        lines += ["", "![wall and CPU time of pulls](latest.svg)"]
    for document in documents:
        columns = header(document)
        lines += ["", f"## {document['name']}: {document['title']}", ""]
        lines += [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
        lines += [f"| {' | '.join(row)} |" for row in rows(document)]
        lines += ["", *document["notes"]] if document["notes"] else []
    return "\n".join(lines) + "\n"


def describe(measurement: Measurement) -> Document:
    """Return a measurement as JSON has it."""
    series = measurement.series
    bounds = []
    for bound in measurement.bounds:
        holds = bound.holds(series)
        verdict = f"{'✓' if holds else '✗'} {bound.verdict(series)}"
        figures = {"measured": round(bound.measured(series), 4), "holds": holds, "verdict": verdict}
        bounds.append({**asdict(bound), **figures})
    return {
        "name": measurement.name,
        "title": measurement.title,
        "unit": "seconds" if measurement.unit != "MB" else "MB",
        "shown_in": measurement.unit,
        "series": {name: _series(each) for name, each in series.items()},
        "bounds": bounds,
        "notes": measurement.notes,
    }


def _series(series: Series) -> Document:
    return {
        "median": round(series.median, 6),
        "median_cpu": None if series.median_cpu is None else round(series.median_cpu, 6),
        "peak": None if series.peak is None else round(series.peak, 2),
        "rounds": [round(value, 6) for value in series.rounds],
        "samples": [round(value, 6) for value in series.samples],
        "cpu": [round(value, 6) for value in series.cpu],
        "peaks": [round(value, 2) for value in series.peaks],
    }
