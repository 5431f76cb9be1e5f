"""`tricorn operation …`."""

from __future__ import annotations

from typing import Any

import click

from tricorn.cli import complete, progress
from tricorn.cli.door import calls
from tricorn.cli.figures import age, truncate
from tricorn.cli.output import clean, each, emit_json, emit_line, table
from tricorn.cli.settings import Settings, command
from tricorn.errors import from_problem
from tricorn.exchange import Call

operation_command = click.Group("operation", help="List, watch and cancel long work.")


@command("ls", examples="tricorn operation ls\ntricorn --json operation ls")
@click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
@click.option("--no-trunc", is_flag=True, help="Print whole objects.")
def ls(settings: Settings, quiet: bool, no_trunc: bool) -> None:
    """List operations: those under way and the last that ended."""
    items = settings.door.call(calls.operations(settings.namespace))["items"]
    if settings.json:
        emit_json(items)
    elif quiet:
        for item in items:
            click.echo(item["id"])
    else:
        columns = ("ID", "KIND", "OBJECT", "STATE", "PROGRESS", "STARTED")
        table(columns, (_row(item, full=no_trunc) for item in items))


def _row(item: dict[str, Any], *, full: bool) -> tuple[str, ...]:
    started = age(item.get("started_at"))
    about = truncate(item["object"], 40, full=full)
    return item["id"], item["kind"], about, item["state"], _progress(item), started


def begun(settings: Settings, call: Call) -> None:
    """Begin long work that outlives the command, and print its id."""
    view = settings.door.call(call)
    if settings.json:
        emit_json(view)
    else:
        click.echo(view["id"])


@command("watch", examples="tricorn operation watch 01J…\ntricorn --json operation watch 01J… | jq .eta")
@progress.progress_options
@click.argument("id", shell_complete=complete.operations)
def watch(settings: Settings, id: str, how: str) -> None:
    """Show the progress of an operation until it ends; fails as the operation does.

    With --json each line of the progress is a JSON document, and so is the operation at the end.
    """
    steps = settings.door.lines(calls.operation_progress(settings.namespace, id))
    with progress.display("none" if settings.json else how) as report:
        for step in steps:
            (emit_line if settings.json else report)(step)
    view = settings.door.call(calls.operation(settings.namespace, id))
    if settings.json:
        emit_line(view)
    if error := view.get("error"):
        raise from_problem(error)
    if not settings.json:
        click.echo(f"{view['kind']} {clean(view['object'])}: {view['state']}")


def _progress(item: dict[str, Any]) -> str:
    if item["state"] == "failed":
        return str((item.get("error") or {}).get("detail") or "-")
    progress = item.get("progress") or {}
    if total := progress.get("total"):
        return f"{progress.get('phase', '')} {100 * progress.get('offset', 0) // total} %".strip()
    return str(progress.get("phase") or "-")


@command("cancel", examples="tricorn operation cancel 01J…")
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete.operations)
def cancel(settings: Settings, ids: tuple[str, ...]) -> int:
    """Cancel operations; what they had begun is undone."""
    return each(
        settings, ids, lambda name: settings.door.call(calls.cancel_operation(settings.namespace, name))
    )


operation_command.add_command(ls)
operation_command.add_command(watch)
operation_command.add_command(cancel)
