"""Shows measurements: a table for the terminal, Markdown and JSON for the record."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict
from rich.console import Console
from rich.table import Table
from rig import Measurement, Series

SCALE = {"ms": 1000.0, "s": 1.0, "MB": 1.0}


def show(console: Console, measurement: Measurement) -> None:
    """Print one measurement with its bounds as soon as it is there."""
    table = Table(title=f"{measurement.name}: {measurement.title}", title_justify="left", title_style="bold")
    for column in header(measurement):
        table.add_column(column, justify="left" if column in {"side", "bound"} else "right")
    for row in rows(measurement):
        table.add_row(*row)
    console.print(table)
    for note in measurement.notes:
        console.print(f"  [dim]{note}[/]")
    console.print()


def header(measurement: Measurement) -> tuple[str, ...]:
    unit = measurement.unit
    return ("side", f"median, {unit}", "rounds", f"CPU, {unit}", "bound")


def rows(measurement: Measurement) -> Iterator[tuple[str, ...]]:
    scale = SCALE[measurement.unit]
    for name, series in measurement.series.items():
        low, high = series.spread
        cpu = series.median_cpu
        yield (
            name,
            figure(series.median * scale),
            f"{figure(low * scale)} to {figure(high * scale)}" if len(series.rounds) > 1 else "",
            figure(cpu * scale) if cpu is not None else "",
            ", ".join(_verdicts(measurement, name)),
        )


def _verdicts(measurement: Measurement, name: str) -> Iterator[str]:
    for bound in measurement.bounds:
        if bound.ours == name:
            mark = "✓" if bound.holds(measurement.series) else "✗"
            yield f"{mark} {bound.verdict(measurement.series)}"


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


def write(directory: Path, measurements: Sequence[Measurement], versions: Mapping[str, str]) -> None:
    """Write latest.md and latest.json."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "latest.md").write_text(markdown(measurements, versions))
    document = {
        "machine": machine(),
        "versions": dict(versions),
        "measurements": [_document(measurement) for measurement in measurements],
    }
    (directory / "latest.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def markdown(measurements: Sequence[Measurement], versions: Mapping[str, str]) -> str:
    host = machine()
    lines = [
        "# Measured by `make bench`",
        "",
        f"{host['processors']} processors, kernel {host['kernel']}, {host['system']}; "
        + ", ".join(f"{name}: {version}" for name, version in versions.items())
        + ". Sides alternate within each round; the ratio is the median of the rounds' ratios.",
    ]
    for measurement in measurements:
        lines += ["", f"## {measurement.name}: {measurement.title}", ""]
        lines += [f"| {' | '.join(header(measurement))} |", "|---|---|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in rows(measurement)]
        lines += ["", *measurement.notes] if measurement.notes else []
    return "\n".join(lines) + "\n"


def _document(measurement: Measurement) -> dict[str, Any]:
    return {
        "name": measurement.name,
        "title": measurement.title,
        "unit": "seconds" if measurement.unit != "MB" else "MB",
        "series": {name: _series(series) for name, series in measurement.series.items()},
        "bounds": [
            {
                **asdict(bound),
                "measured": round(bound.measured(measurement.series), 4),
                "holds": bound.holds(measurement.series),
            }
            for bound in measurement.bounds
        ],
        "notes": measurement.notes,
    }


def _series(series: Series) -> dict[str, Any]:
    return {
        "median": round(series.median, 6),
        "rounds": [round(value, 6) for value in series.rounds],
        "samples": [round(value, 6) for value in series.samples],
        "cpu": [round(value, 6) for value in series.cpu],
    }
