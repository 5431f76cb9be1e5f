"""`tricorn exec`."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from tricorn.cli import complete, detach
from tricorn.cli.desired import environment
from tricorn.cli.door import calls
from tricorn.cli.joining import Joining
from tricorn.cli.output import complain, emit_json
from tricorn.cli.program_errors import program_status
from tricorn.cli.run import farewell, require_terminal
from tricorn.cli.settings import Settings, command
from tricorn.cli.stdio import Foreground, Wishes
from tricorn.client.exec_calls import start_exec
from tricorn.errors import TricornError
from tricorn.frames import FrameKind

_EXAMPLES = """\
tricorn exec web nginx -t
tricorn exec -it web sh
tricorn exec -u nobody -w /tmp -e A=1 web env
tricorn exec -d web make -C /srv
tricorn exec --keep -it web sh
tar c . | tricorn exec -i web tar x -C /srv
tricorn --json exec web id"""


@command("exec", examples=_EXAMPLES, passthrough=True)
@click.option("-i", "--interactive", is_flag=True, help="Forward stdin.")
@click.option("-t", "--tty", is_flag=True, help="Give the program a terminal.")
@click.option("-e", "--env", multiple=True, metavar="KEY[=VALUE]")
@click.option("--env-file", multiple=True, type=click.Path())
@click.option("-w", "--workdir", metavar="DIR")
@click.option("-u", "--user", metavar="USER[:GROUP]")
@click.option("--privileged", is_flag=True)
@click.option("-d", "--detach", "detached", is_flag=True, help="Leave it running and print its id.")
@click.option("--keep", is_flag=True, help="It goes on when the connection breaks, until it ends itself.")
@click.option("--exec-id", metavar="ID", help="With -d or --keep; one is made up otherwise.")
@click.option("--detach-keys", default=detach.DEFAULT, metavar="KEYS", show_default=True)
@click.argument("container", shell_complete=complete.containers)
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(
    settings: Settings, container: str, program: tuple[str, ...], detach_keys: str, **options: Any
) -> int:
    """Run PROGRAM in a running CONTAINER; the exit status is the program's.

    125 when the agent refused, 126 and 127 when the program can't be started or found. With --json the
    output is collected (16 MiB per stream) and printed with the exit code as one document.

    PROGRAM ends with this command. With --detach or --keep it goes on without it, and without the agent:
    `tricorn attach --exec ID CONTAINER` joins it again, `tricorn execs` lists, awaits and ends it.
    """
    background = options["detached"] or options["keep"]
    if options["exec_id"] and not background:
        raise click.UsageError("--exec-id needs --detach or --keep")
    if settings.json and options["keep"] and not options["detached"]:
        raise click.UsageError("--json collects the output of PROGRAM; leave --keep out, or use --detach")
    wishes = Wishes(stdin=options["interactive"], terminal=options["tty"], keys=detach.parse(detach_keys))
    request = exec_request(program, options)
    try:
        if background:
            require_terminal(wishes, background=options["detached"])
            return _kept(settings, container, request, options, wishes)
        if settings.json:
            return _collected(settings, container, request, options)
        require_terminal(wishes)
        return _foreground(settings, container, request, wishes)
    except TricornError as error:
        complain(error)
        return program_status(error)


def exec_request(program: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    """Return the ExecRequest of a command line, with the fields that were set only."""
    fields = {
        "env": environment(options["env"], options["env_file"], os.environ),
        "cwd": options["workdir"],
        "user": options["user"],
        "terminal": options["tty"],
        "privileged": options["privileged"],
    }
    return {"args": list(program), **{key: value for key, value in fields.items() if value}}


def _kept(
    settings: Settings, container: str, request: dict[str, Any], options: dict[str, Any], wishes: Wishes
) -> int:
    wanted = {**request, "stdin": wishes.stdin, "id": options["exec_id"] or ""}
    view = settings.door.call(start_exec(settings.namespace, container, wanted))
    if not options["detached"]:
        return Joining(settings, container, view, replay=True).run(keys=wishes.keys)
    if settings.json:
        emit_json(view)
    else:
        click.echo(view["id"])
    return 0


def _collected(settings: Settings, container: str, request: dict[str, Any], options: dict[str, Any]) -> int:
    if options["interactive"]:
        request = {**request, "stdin": sys.stdin.read()}
    result = settings.door.call(calls.exec_(settings.namespace, container, request))
    emit_json(result)
    return int(result["exit_code"]) & 0xFF


def _foreground(settings: Settings, container: str, request: dict[str, Any], wishes: Wishes) -> int:
    link, first = settings.door.upgrade(calls.exec_session(settings.namespace, container))
    session = Foreground(link, first, wishes)
    session.send(FrameKind.EXEC, request)
    if not wishes.stdin:
        session.send(FrameKind.STDIN_CLOSED)
    return farewell(session.run(), container)
