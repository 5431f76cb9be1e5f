"""`tricorn version` and `tricorn info`."""

from __future__ import annotations

from typing import Any

import click

from tricorn import __version__
from tricorn.cli.door import calls
from tricorn.cli.output import clean, complain, emit_json
from tricorn.cli.settings import Settings, command
from tricorn.errors import TricornError


@command("version", examples="tricorn version\ntricorn --json version")
def version(settings: Settings) -> int:
    """Show the versions of this command and of the agent."""
    answer, status = None, 0
    try:
        answer = settings.door.call(calls.version())
    except TricornError as error:
        complain(error)
        status = error.exit_status
    if settings.json:
        emit_json({"client": {"version": __version__}, "server": answer})
        return status
    click.echo(f"client  {__version__}")
    if answer:
        details = ", ".join(
            f"{key} {answer[key]}" for key in ("api", "python", "revision") if answer.get(key)
        )
        click.echo(f"server  {answer.get('version', '?')}" + (f" ({details})" if details else ""))
    return status


@command("info", examples="tricorn info\ntricorn --json info | jq .runtimes")
def info(settings: Settings) -> None:
    """Show the agent's directories, runtimes, snapshotters and what this host can't do."""
    answer = settings.door.call(calls.info())
    if settings.json:
        emit_json(answer)
        return
    for line in _lines(answer, 0):
        click.echo(clean(line))


def _lines(value: Any, depth: int) -> list[str]:
    """Return nested fields as indented lines; objects with a name are headed by it."""
    indent = "  " * depth
    lines: list[str] = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines += [f"{indent}{key}:", *_lines(item, depth + 1)]
        elif isinstance(item, list) and any(isinstance(entry, dict) for entry in item):
            lines += [f"{indent}{key}:", *(f"{indent}  {_entry(entry)}" for entry in item)]
        elif isinstance(item, list):
            lines.append(f"{indent}{key}: {', '.join(str(entry) for entry in item)}")
        else:
            lines.append(f"{indent}{key}: {item}")
    return lines


def _entry(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    name = entry.get("name", "")
    rest = ", ".join(
        _field(key, item) for key, item in entry.items() if key != "name" and item not in ("", None, [])
    )
    return f"{name}: {rest}" if name else rest


def _field(key: str, item: Any) -> str:
    return f"{key} {', '.join(str(part) for part in item) if isinstance(item, list) else item}"
