"""What the commands print: one JSON document, or a table for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import click

from tricorn.cli.settings import Settings
from tricorn.errors import TricornError
from tricorn.exchange import Call

_STYLES: Final = {"running": "green", "paused": "yellow", "failed": "red", "created": "cyan"}


def complain(error: TricornError) -> None:
    """Print an error on one line of stderr."""
    click.echo(f"tricorn: {clean(' '.join(error.one_line().split()))}", err=True)


def warn(answer: dict[str, Any]) -> None:
    """Print an answer's warnings, each on one line of stderr."""
    for warning in answer.get("warnings") or ():
        click.echo(f"tricorn: {clean(warning)}", err=True)


def emit_json(value: Any) -> None:
    """Print `value` as one JSON document, indented for people who read it on a terminal."""
    import json

    click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


def emit_line(value: Any) -> None:
    """Print `value` as one line of a JSON stream, at once."""
    import json

    sys.stdout.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def print_made(settings: Settings, result: dict[str, Any]) -> None:
    """Print which image was made, its warnings on stderr."""
    if settings.json:
        emit_json(result)
        return
    warn(result)
    click.echo(f"{result['reference']}@{result['digest']}")


def listing(
    settings: Settings, items: Sequence[Any], columns: Sequence[str], row: Callable[[Any], Sequence[str]],
    *, quiet: bool = False,
) -> None:  # fmt: skip
    """Print named objects: as JSON, their names only when `quiet`, else a table of each one's `row`."""
    if settings.json:
        emit_json(items)
    elif quiet:
        for item in items:
            click.echo(item["name"])
    else:
        table(columns, map(row, items))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their columns: with rich on a terminal, as aligned plain text into a pipe."""
    lines = [[clean(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _rich_table(columns, lines)
    else:
        _plain_table(columns, lines)


def clean(text: str) -> str:
    """Return `text` without control characters: a label must not drive the reader's terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    everything = [columns, *rows]
    widths = [max(len(row[index]) for row in everything) for index in range(len(columns))]
    for row in everything:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        made.add_column(name, no_wrap=True)
    for row in fit([columns, *rows], console.width)[1:]:
        made.add_row(*(Text(cell, style=_STYLES.get(cell.split(" ")[0], "")) for cell in row))
    console.print(made)


def fit(rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """Return the rows (the first holds the columns' names) cut to a screen of `width`.

    The widest columns give way first, down to their names and no less than eight characters.
    """
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    least = [max(len(name), 8) for name in rows[0]]
    while sum(widths) + len(widths) > width:
        spare = [have - need for have, need in zip(widths, least, strict=True)]
        if max(spare) <= 0:
            break
        widths[max(range(len(widths)), key=lambda index: widths[index] if spare[index] > 0 else 0)] -= 1
    return [
        [
            cell if len(cell) <= room else cell[: room - 1] + "…"
            for cell, room in zip(row, widths, strict=True)
        ]
        for row in rows
    ]


def each(settings: Settings, names: Sequence[str], act: Callable[[str], Any], *, say: bool = True) -> int:
    """Do `act` for each name, go on after an error, and return the first error's exit status.

    Prints the names that went well, or under --json the answer (several names: a list of answers).
    """

    def told(name: str) -> Any:
        answer = act(name)
        if say and not settings.json:
            click.echo(name)
        return answer

    answers, status = attempt(names, told)
    if settings.json:
        _emit_answers(answers, names)
    return status


def each_at_once(settings: Settings, names: Sequence[str], request: Callable[[str], Call]) -> int:
    """Like `each` with the call that `request` makes of each name, several under way at a time: for what may
    take long. Prints in the order of the names.
    """
    answers = settings.door.ask_ahead(map(request, names))
    return each(settings, names, lambda _: next(answers)())


def emit_several(names: Sequence[str], act: Callable[[str], Any]) -> int:
    """Like `each`, for commands that print JSON with and without --json."""
    answers, status = attempt(names, act)
    _emit_answers(answers, names)
    return status


def attempt(names: Sequence[str], act: Callable[[str], Any]) -> tuple[list[Any], int]:
    """Return the answers of `act` for each name, and the first error's exit status (0 for none)."""
    answers, status = [], 0
    for name in names:
        try:
            answers.append(act(name))
        except TricornError as error:
            complain(error)
            status = status or error.exit_status
    return answers, status


def _emit_answers(answers: Sequence[Any], names: Sequence[str]) -> None:
    """Print one document: the answer for one name, the list of answers for several."""
    if answers:
        emit_json(answers if len(names) > 1 else answers[0])
