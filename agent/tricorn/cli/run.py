"""`tricorn run` and `tricorn create`."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from tricorn.cli import detach, progress
from tricorn.cli.container_options import container_options
from tricorn.cli.desired import container
from tricorn.cli.door import calls
from tricorn.cli.output import complain, emit_json, warn
from tricorn.cli.program_errors import program_status
from tricorn.cli.settings import Settings, command
from tricorn.cli.stdio import Ending, Foreground, Wishes
from tricorn.errors import InvalidArgument, TricornError

_EXAMPLES = """\
tricorn run --rm alpine echo hello
tricorn run --rm -it alpine sh
tricorn run -d --name web -e MODE=prod -v /srv/www:/www:ro nginx
tricorn run --rm -m 256m --cpus 0.5 --net host alpine wget -qO- localhost"""


@command("run", examples=_EXAMPLES, passthrough=True)
@click.option("-d", "--detach", "background", is_flag=True, help="Start it, print its id, and leave.")
@click.option("--rm", "remove", is_flag=True, help="Remove the container when it has exited.")
@click.option("--detach-keys", default=detach.DEFAULT, metavar="KEYS", show_default=True)
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on to the container.")
@container_options
def run_command(
    settings: Settings, background: bool, remove: bool, detach_keys: str, sig_proxy: bool, **options: Any
) -> int:
    """Run IMAGE in a new container, in the foreground unless -d is given.

    The exit status is the container's; 125 when the agent refused, 126 and 127 when the program can't be
    started or found.
    """
    if background and remove:
        raise click.UsageError("-d and --rm exclude each other: nobody stays to remove the container")
    wishes = Wishes(
        stdin=options["interactive"],
        terminal=options["tty"],
        signals=sig_proxy,
        keys=detach.parse(detach_keys),
    )
    require_terminal(wishes, background=background)
    body = container(options["image"], options["command"], options, os.environ)
    try:
        if background:
            body["state"] = "started"
        made = new_container(settings, body, options)
        if background:
            return _background(settings, made)
        return _foreground(settings, made["id"], wishes, remove=remove)
    except TricornError as error:
        complain(error)
        return program_status(error)


@command("create", examples="tricorn create --name web nginx\ntricorn start web", passthrough=True)
@container_options
def create(settings: Settings, **options: Any) -> None:
    """Make a container of IMAGE without starting it, and print its id."""
    body = container(options["image"], options["command"], options, os.environ)
    made = new_container(settings, body, options)
    if settings.json:
        emit_json(made)
    else:
        click.echo(made["id"])


def new_container(settings: Settings, body: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Create the container, pulling its image if need be, and return its ContainerView."""
    call = calls.create_container(settings.namespace, body, name=options["name"] or "", stream=True)
    with progress.display("none" if options["quiet"] else "auto") as report:
        made: dict[str, Any] = settings.door.work(call, report)
    if not settings.json:
        warn(made)
    return made


def require_terminal(wishes: Wishes, *, background: bool = False) -> None:
    """Raise InvalidArgument when -it is asked for and stdin is none."""
    if wishes.terminal and wishes.stdin and not background and not sys.stdin.isatty():
        raise InvalidArgument("stdin isn't a terminal", hint="leave -t out", field="--tty")


def _background(settings: Settings, made: dict[str, Any]) -> int:
    if settings.json:
        emit_json(made)
    else:
        click.echo(made["id"])
    return 0


def _foreground(settings: Settings, id: str, wishes: Wishes, *, remove: bool) -> int:
    """Attach, start, and stay until the exit. With `remove` the container goes however this ends."""
    ending = None
    try:
        link, first = settings.door.upgrade(calls.attach(settings.namespace, id, start=True))
        ending = Foreground(link, first, wishes).run()
    finally:
        if remove and (ending is None or ending.exit is not None):
            _remove(settings, id)
    return farewell(ending, id)


def farewell(ending: Ending, id: str) -> int:
    """Say so if the detach keys ended the session, and return the exit status."""
    if ending.exit is None:
        click.echo(f"\ndetached from {id}; it keeps running", err=True)
    elif note := ending.exit.get("note"):
        click.echo(f"tricorn: {id}: {note}", err=True)
    return ending.status


def _remove(settings: Settings, id: str) -> None:
    settings.door.close()
    try:
        settings.door.call(calls.delete_container(settings.namespace, id, force=True))
    except TricornError as error:
        complain(error)
