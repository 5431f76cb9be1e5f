"""The entry of `tricorn`: finds the command's file, runs it and turns what it raises into an exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

import click

from tricorn import __version__
from tricorn.cli.output import complain
from tricorn.cli.settings import Settings, global_options
from tricorn.cli.standard_streams import prepare
from tricorn.errors import TricornError, Unavailable

VARIABLE: Final = "_TRICORN_COMPLETE"  # set by the completion scripts
INTERRUPTED: Final = 128 + signal.SIGINT

COMMANDS: Final[dict[str, str]] = {
    "run": "run",
    "create": "run:create",
    "start": "container:start",
    "ps": "container:ps",
    "exec": "exec",
    "execs": "execs",
    "attach": "attach",
    "logs": "logs",
    "kill": "container:kill",
    "stop": "container:stop",
    "restart": "container:restart",
    "pause": "container:pause",
    "resume": "container:resume",
    "rm": "container:rm",
    "wait": "wait:wait",
    "inspect": "container:inspect",
    "stats": "container:stats",
    "update": "update:update",
    "top": "top:top",
    "pids": "top:pids",
    "health": "health:health",
    "cp": "cp:cp",
    "apply": "apply:apply",
    "commit": "commit:commit",
    "checkpoint": "checkpoint:checkpoint",
    "restore": "checkpoint:restore",
    "migrate": "migrate:migrate",
    "migrations": "migrate:migrations_command",
    "container": "container",
    "image": "image",
    "namespace": "namespace",
    "content": "content",
    "snapshot": "snapshot",
    "lease": "lease",
    "network": "network",
    "operation": "operation",
    "events": "events",
    "registry": "registry",
    "gc": "gc",
    "policy": "policy",
    "fleet": "fleet",
    "node": "node_order:node",
    "info": "node:info",
    "version": "node:version",
    "completion": "completion",
}


class LazyGroup(click.Group):
    """A group that imports the file of a command when the command is named, and no other's."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        home = COMMANDS.get(cmd_name)
        if home is None:
            return None
        file, _, attribute = home.partition(":")
        found = getattr(import_module(f"tricorn.cli.{file}"), attribute or f"{file}_command")
        assert isinstance(found, click.Command)
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C and a reader that left end it quietly, before click has its say."""
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:
            _silence()
            return INTERRUPTED
        return status


root = LazyGroup(
    "tricorn",
    params=global_options(),
    help="Run containers through the tricornd agent of this node.",
    epilog="`tricorn COMMAND --help` shows a command's options and examples. The options above may also"
    " follow the command.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    no_args_is_help=True,
)
click.version_option(
    __version__, prog_name="tricorn", help="Show this command's version; no agent is asked."
)(root)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; nothing is raised but SystemExit by completion."""
    prepare()
    settings = Settings()
    if VARIABLE in os.environ:
        import_module("tricorn.cli.completion")  # knows what click's own completion doesn't
    try:
        status = root.main(
            args=arguments, prog_name="tricorn", standalone_mode=False, complete_var=VARIABLE, obj=settings
        )
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        return _usage(error)
    except TricornError as error:
        complain(error)
        return error.exit_status
    except click.Abort:
        return INTERRUPTED
    except OSError as error:  # a full disk behind stdout; what concerns the agent is a TricornError
        complain(Unavailable("cannot go on", why=str(error)))
        with suppress(OSError):
            _silence()
        return 1
    finally:
        settings.close()
    return status if isinstance(status, int) else 0


def _usage(error: click.ClickException) -> int:
    message = " ".join(error.format_message().split())
    where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "tricorn"
    click.echo(f"tricorn: {message} (hint: see `{where} --help`)", err=True)
    return 2


def _silence() -> None:
    """Point stdout nowhere, so that the interpreter's last flush complains of no closed pipe or full disk."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
