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
            lines.append(f"{indent}{key}:")
            lines += [f"{indent}  {line}" for entry in item for line in _entry(entry)]
        else:
            lines.append(f"{indent}{_field(key, item)}".rstrip())
    return lines


def _entry(entry: Any) -> list[str]:
    """Return one of a list as a line that begins with whether it can be used, and one for each warning."""
    if not isinstance(entry, dict):
        return [str(entry)]
    parts = dict(entry)
    name, warnings = parts.pop("name", ""), parts.pop("warnings", ())
    usable = parts.pop("usable", parts.pop("available", None))
    if parts.get("flavour") == name:
        del parts["flavour"]
    if parts.get("default") is False:
        del parts["default"]
    words = [] if usable is None else ["yes" if usable else "no"]
    words += _words(parts)
    line = ", ".join(words)
    return [f"{name}: {line}" if name else line, *(f"  warning: {warning}" for warning in warnings)]


def _words(parts: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for key, item in parts.items():
        if isinstance(item, dict):
            words += _words(item)
        elif key in {"reason", "hint"} and item:
            words.append(item if key == "reason" else f"hint: {item}")
        elif item not in ("", None, []):
            words.append(f"{key} {_text(item)}" if item is not True else key)
    return words


def _field(key: str, item: Any) -> str:
    return f"{key}: {_text(item)}"


def _text(item: Any) -> str:
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, list):
        return ", ".join(map(str, item))
    return "" if item is None else str(item)
