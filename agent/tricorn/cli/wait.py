"""`tricorn wait`."""

from __future__ import annotations

from typing import Any

import click

from tricorn.cli import complete
from tricorn.cli.door import calls
from tricorn.cli.figures import parse_duration
from tricorn.cli.output import each, emit_json
from tricorn.cli.settings import Settings, command

_EXAMPLES = """\
tricorn wait job && echo done
tricorn wait --any a b c
tricorn wait --state healthy --timeout 2m db web"""
_STATES = ("exited", "running", "healthy")


@command("wait", examples=_EXAMPLES)
@click.option("--any", is_flag=True, help="Until the first of them is there.")
@click.option("--state", type=click.Choice(_STATES), default="exited", show_default=True)
@click.option("--timeout", metavar="DURATION", help="Then leave with status 16.")
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...", shell_complete=complete.containers)
def wait(settings: Settings, *, any: bool, state: str, timeout: str | None, names: tuple[str, ...]) -> int:
    """Wait until containers have exited, run, or are healthy.

    Prints the exit codes, in the order of the names; with --any or another state, the names of those that are
    there, an exit code behind them if there is one.
    """
    if state == "exited" and not any and timeout is None:
        return each(settings, names, lambda name: _exit_of(settings, name), say=False)
    seconds = None if timeout is None else parse_duration(timeout, "--timeout")
    call = calls.wait_many(settings.namespace, names, state=state, any=any, timeout=seconds)
    found = settings.door.call(call)["items"]
    if settings.json:
        emit_json(found)
        return 0
    for view in found:
        if view["reached"]:
            code = view["exit_code"] if state == "exited" else None
            click.echo(view["id"] if code is None else f"{view['id']} {code}" if any else str(code))
    return 0


def _exit_of(settings: Settings, id: str) -> Any:
    answer = {"id": id, **settings.door.call(calls.wait(settings.namespace, id))}
    if not settings.json:
        click.echo(answer["exit_code"])
    return answer
