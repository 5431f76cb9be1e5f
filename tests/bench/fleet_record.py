"""The record of the fleet's measurements: Markdown, JSON, and a picture of time against nodes."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from statistics import median
from typing import Any, Final

AIM_SECONDS: Final = 6.0
_COLOURS: Final = {"ping": "#c9772b", "apply": "#2a6f97", "start": "#3a9d6e", "fleet": "#8a6fb0"}
_LEFT, _TOP, _WIDTH, _HEIGHT = 50, 40, 560, 300
_RIGHT: Final = 270  # room for the lines' names
Measured = Mapping[int, Mapping[str, list[float]]]


def write(directory: Path, series: Mapping[str, str], measured: Measured, facts: Mapping[str, Any]) -> None:
    document = {
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release()}, "series": series, **facts,
        "nodes": {str(count): times for count, times in measured.items()},
    }  # fmt: skip
    (directory / "fleet.json").write_text(json.dumps(document, indent=1) + "\n")
    (directory / "fleet.md").write_text(text(series, measured, facts))
    (directory / "fleet.svg").write_text(picture(series, measured))


def text(series: Mapping[str, str], measured: Measured, facts: Mapping[str, Any]) -> str:
    """Return the tables as Markdown."""
    largest = max(measured)
    lines = [
        "# Measured by `make bench-fleet`\n",
        _told(largest, len(measured[largest]["ping"]), facts),
        "![seconds against nodes](fleet.svg)\n",
        f"| nodes | {' | '.join(series.values())} | apply beside ping |",
        "|---|" + "---|" * (len(series) + 1),
    ]
    for count, times in measured.items():
        ratio = median(times["ping"]) / median(times["apply"])
        cells = [f"{median(times[name]):.2f} s" for name in series]
        lines.append(f"| {count} | {' | '.join(cells)} | {ratio:.1f} × faster |")
    return "\n".join(lines) + "\n"


def _told(count: int, rounds: int, facts: Mapping[str, Any]) -> str:
    return (
        f"{os.cpu_count()} processors, kernel {platform.release()}; controller and all nodes on this machine."
        f" Marginal wall time of one task over all nodes, forks 50, connections kept, medians of {rounds}."
        f" {count} nodes came up in {facts['up_seconds']:.0f} s and took {facts['memory_bytes'] / 1e6:.0f} MB, the cache of their files counted.\n"
    )


def picture(series: Mapping[str, str], measured: Measured) -> str:
    """Return an SVG with a line for each series."""
    top = max(median(times[name]) for times in measured.values() for name in series)
    step = next(step for step in (0.5, 1, 2, 5, 10, 20, 50, 100) if top / step <= 7)
    end, most = math.ceil(top / step) * step, max(measured)

    def place(count: float, seconds: float) -> str:
        return f"{_LEFT + count / most * _WIDTH:.1f},{_TOP + _HEIGHT * (1 - seconds / end):.1f}"

    parts = [*_grid(measured, end, step, most)]
    for name in series:
        points = [place(count, median(times[name])) for count, times in measured.items()]
        parts.append(
            f'<polyline points="{" ".join(points)}" stroke="{_COLOURS[name]}" fill="none" stroke-width="2"/>'
        )
        parts += [
            f'<circle cx="{x}" cy="{y}" r="3.5" fill="{_COLOURS[name]}"/>'
            for x, y in (p.split(",") for p in points)
        ]
    parts += _names(series, measured, end)
    width, height = _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + 50
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    style = "text{font:12px sans-serif;fill:#555}line{stroke:#8883}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _grid(measured: Measured, end: float, step: float, most: int) -> Iterator[str]:
    yield f'<text x="{_LEFT}" y="20">seconds for all nodes, against their number</text>'
    for number in range(round(end / step) + 1):
        y = _TOP + _HEIGHT * (1 - number * step / end)
        yield f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number * step:g}</text>'
    for count in measured:
        x = _LEFT + count / most * _WIDTH
        yield f'<text x="{x:.1f}" y="{_TOP + _HEIGHT + 20}" text-anchor="middle">{count}</text>'


def _names(series: Mapping[str, str], measured: Measured, end: float) -> Iterator[str]:
    """Yield each line's name at its end, apart from the others'."""
    last = measured[max(measured)]
    ends = sorted((_TOP + _HEIGHT * (1 - median(last[name]) / end), name) for name in series)
    lowest = -math.inf
    for y, name in ends:
        lowest = max(y, lowest + 16)
        yield f'<text x="{_LEFT + _WIDTH + 10}" y="{lowest + 4:.1f}" style="fill:{_COLOURS[name]}">{escape(series[name])}</text>'
