"""`tricorn execs …`: what was started by `tricorn exec --detach` and `--keep`."""

from __future__ import annotations

import shlex
from typing import Any

import click

from tricorn.cli import complete
from tricorn.cli.container import signal_name
from tricorn.cli.figures import age, truncate
from tricorn.cli.output import each, emit_json, emit_several, table
from tricorn.cli.settings import Settings, command
from tricorn.client import exec_calls

execs_command = click.Group("execs", help="Look after execs that go on without a client.")
_container = click.argument("container", shell_complete=complete.containers)
_ids = click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete.execs)


@command("ls", examples="tricorn execs ls web\ntricorn execs ls -q web")
@click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
@click.option("--no-trunc", is_flag=True, help="Print whole commands.")
@_container
def ls(settings: Settings, container: str, quiet: bool, no_trunc: bool) -> None:
    """List the execs of CONTAINER: those that run, and the ended ones that are kept."""
    items = settings.door.call(exec_calls.execs(settings.namespace, container))["items"]
    if settings.json:
        emit_json(items)
    elif quiet:
        for item in items:
            click.echo(item["id"])
    else:
        columns = ("ID", "COMMAND", "STATUS", "PID", "TTY", "STARTED")
        table(columns, (_row(item, full=no_trunc) for item in items))


def _row(item: dict[str, Any], *, full: bool) -> tuple[str, ...]:
    status = str(item["status"])
    if status == "stopped":
        status = f"exited ({item.get('exit_code')}) {age(item.get('exited_at'))} ago"
    return (
        item["id"],
        truncate(shlex.join(item.get("args") or ()) or "-", 40, full=full),
        status,
        str(item.get("pid") or "-"),
        "yes" if item.get("terminal") else "no",
        age(item.get("started_at")),
    )


@command("inspect", examples="tricorn execs inspect web 5f0c1d2e3a4b")
@_container
@_ids
def inspect(settings: Settings, container: str, ids: tuple[str, ...]) -> int:
    """Print all about execs of CONTAINER as JSON."""
    ns = settings.namespace
    return emit_several(ids, lambda name: settings.door.call(exec_calls.exec_of(ns, container, name)))


@command("wait", examples="tricorn execs wait web $(tricorn exec -d web make)")
@_container
@_ids
def wait(settings: Settings, container: str, ids: tuple[str, ...]) -> int:
    """Wait until execs of CONTAINER have ended, and print their exit codes."""

    def end(id: str) -> Any:
        answer = settings.door.call(exec_calls.wait_exec(settings.namespace, container, id))
        if not settings.json:
            click.echo(answer["exit_code"])
        return answer

    return each(settings, ids, end, say=False)


@command("kill", examples="tricorn execs kill web 5f0c1d2e3a4b\ntricorn execs kill -s INT web build")
@click.option("-s", "--signal", default="SIGKILL", show_default=True, metavar="SIGNAL")
@_container
@_ids
def kill(settings: Settings, container: str, signal: str, ids: tuple[str, ...]) -> int:
    """Send a signal to the processes of execs of CONTAINER."""
    ns, body = settings.namespace, {"signal": signal_name(signal)}
    return each(
        settings,
        ids,
        lambda name: settings.door.call(exec_calls.exec_action(ns, container, name, "kill", body)),
    )


@command("rm", examples="tricorn execs rm web 5f0c1d2e3a4b\ntricorn execs rm -f web build")
@click.option("-f", "--force", is_flag=True, help="Kill those that run.")
@_container
@_ids
def rm(settings: Settings, container: str, force: bool, ids: tuple[str, ...]) -> int:
    """Forget execs of CONTAINER that have ended, and remove what they wrote."""
    ns = settings.namespace
    return each(
        settings,
        ids,
        lambda name: settings.door.call(exec_calls.remove_exec(ns, container, name, force=force)),
    )


for _made in (ls, inspect, wait, kill, rm):
    execs_command.add_command(_made)
