"""`tricorn logs`."""

from __future__ import annotations

import sys
from typing import Any

import click

from tricorn.cli import complete
from tricorn.cli.door import calls
from tricorn.cli.figures import moment
from tricorn.cli.output import emit_json, emit_line
from tricorn.cli.settings import Settings, command
from tricorn.client.exec_calls import exec_logs
from tricorn.errors import from_problem

_EXAMPLES = """\
tricorn logs web
tricorn logs -f --tail 20 -t web
tricorn logs --since 10m --until 5m web
tricorn --json logs -f web
tricorn logs -f --exec build web"""


@command("logs", examples=_EXAMPLES)
@click.option("-f", "--follow", is_flag=True, help="Go on until the container exits.")
@click.option("--tail", metavar="COUNT", help="Only the last lines; `all` for all.")
@click.option("--since", metavar="WHEN", help="A duration (10m) or a time (2026-01-31T12:00:00Z).")
@click.option("--until", metavar="WHEN", help="Up to then; with -f, go on until then.")
@click.option("-t", "--timestamps", is_flag=True, help="Begin each line with its time.")
@click.option("--exec", "exec_id", metavar="ID", help="What an exec of it wrote.")
@click.argument("container", shell_complete=complete.containers)
def logs_command(
    settings: Settings,
    container: str,
    *,
    follow: bool,
    tail: str | None,
    since: str | None,
    until: str | None,
    timestamps: bool,
    exec_id: str | None,
) -> None:
    """Print what a container wrote: its stdout on stdout, its stderr on stderr.

    --json prints a list of lines, with -f one JSON document per line.
    """
    wanted: dict[str, Any] = {
        "follow": follow,
        "tail": _count(tail),
        "since": moment(since, "--since") if since else None,
        "until": moment(until, "--until") if until else None,
    }
    if exec_id:
        call = exec_logs(settings.namespace, container, exec_id, **wanted)
    else:
        call = calls.logs(settings.namespace, container, **wanted)
    lines = (_checked(line) for line in settings.door.lines(call))
    if settings.json and not follow:
        emit_json(list(lines))
        return
    for line in lines:
        if settings.json:
            emit_line(line)
        else:
            _print(line, timestamps=timestamps, follow=follow)


def _count(text: str | None) -> int | None:
    if text is None or text == "all":
        return None
    if not text.isdigit():
        raise click.BadParameter(f"{text!r} is neither a number nor `all`", param_hint="--tail")
    return int(text)


def _checked(line: dict[str, Any]) -> dict[str, Any]:
    """Return the line, or raise the error that ends a stream which had begun well."""
    problem = line.get("error") if "text" not in line else None
    if isinstance(problem, dict):
        raise from_problem(problem)
    return line


def _print(line: dict[str, str], *, timestamps: bool, follow: bool) -> None:
    stream = sys.stderr if line.get("stream") == "stderr" else sys.stdout
    text = line["text"]
    stream.write(f"{line['timestamp']} {text}" if timestamps else text)
    if not text.endswith("\n"):
        stream.write("\n")
    if follow:
        stream.flush()
