"""The table of `tricorn stats`: whatever figures the agent has, sizes as people read them."""

from __future__ import annotations

from typing import Any

import click

from tricorn.cli.figures import size
from tricorn.cli.output import table


def print_usage(figures: list[dict[str, Any]]) -> None:
    """Print one block of figures per container."""
    for index, entry in enumerate(figures):
        if index:
            click.echo()
        rows = [(name, figure(name, value)) for name, value in flat(entry) if name != "id"]
        table((entry["id"], ""), rows)


def flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested figures as a list of dotted names and values; unset ones are left out."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += flat(value, f"{prefix}{key}.")
        elif value is not None:
            found.append((prefix + key, value))
    return found


def figure(name: str, value: Any) -> str:
    """Return one figure as text; names that speak of bytes are sizes."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    if "bytes" in name:
        return size(value)
    return f"{value:.3f}" if value % 1 else f"{value:.0f}"
