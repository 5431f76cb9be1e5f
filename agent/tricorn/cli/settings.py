"""What the global options say, shared by all commands; `--json` and the like work before and after them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from tricorn.cli.door import Door

SOCKET: Final = "/run/tricorn/tricorn.sock"
NAMESPACE: Final = "default"

R = TypeVar("R")


class Settings:
    """The global options of one run, and the connection that its calls share."""

    def __init__(self, namespace: str = NAMESPACE, socket: str = SOCKET, *, json: bool = False) -> None:
        self.namespace = namespace
        self.socket = socket
        self.json = json
        self._door: Door | None = None

    @property
    def door(self) -> Door:
        """The connection to the agent, made on first use."""
        if self._door is None:
            self._door = Door(self.socket)
        return self._door

    def close(self) -> None:
        """Close the connection, if one was made."""
        if self._door is not None:
            self._door.close()


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Take a global option, wherever on the line it stands: the innermost wins."""
    if not value:
        return
    settings = ctx.ensure_object(Settings)
    assert param.name is not None
    setattr(settings, param.name, value)


def _options(*, hidden: bool) -> list[click.Option]:
    env = None if hidden else {"namespace": "TRICORN_NAMESPACE", "socket": "TRICORN_SOCKET"}
    texts = {
        "namespace": f"Namespace to work in. [env: TRICORN_NAMESPACE; default: {NAMESPACE}]",
        "socket": f"Socket of the agent. [env: TRICORN_SOCKET; default: {SOCKET}]",
    }
    options = [
        click.Option(
            [*(["-n"] if name == "namespace" else []), f"--{name}"],
            metavar={"namespace": "NS", "socket": "PATH"}[name],
            envvar=env[name] if env else None,
            expose_value=False,
            callback=_remember,
            hidden=hidden,
            help=text,
        )
        for name, text in texts.items()
    ]
    flag = click.Option(
        ["--json"], is_flag=True, expose_value=False, callback=_remember, hidden=hidden, help="Print JSON."
    )
    return [*options, flag]


def global_options() -> list[click.Parameter]:
    """Return the options of the root command."""
    return [*_options(hidden=False)]


class _Examples(click.Command):
    """Takes the global options after its name as well, and shows its epilog as examples."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_options(hidden=True))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Print the examples line by line."""
        if self.epilog:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line.strip()}\n" for line in self.epilog.strip().splitlines()))


class Command(_Examples):
    """A command."""


class Group(_Examples, click.Group):
    """A command that does something itself when no sub-command is named."""


def pass_settings(function: Callable[..., R]) -> Callable[..., R]:
    """Give the command the settings as its first argument."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> R:
        settings = click.get_current_context().ensure_object(Settings)
        return function(settings, *args, **kwargs)

    return wrapped


def command(
    name: str, *, examples: str, passthrough: bool = False, cls: type[Command] = Command
) -> Callable[[Callable[..., Any]], Command]:
    """Declare a command with `examples` under its help, of a kind of its own with `cls`.

    With `passthrough`, options after the first argument belong to the program that the container runs.
    """
    context = {"allow_interspersed_args": False} if passthrough else {}

    def declare(function: Callable[..., Any]) -> Command:
        made = click.command(name, cls=cls, epilog=examples, context_settings=context)
        return made(pass_settings(function))

    return declare


def group(name: str, *, examples: str) -> Callable[[Callable[..., Any]], Group]:
    """Declare a command that has sub-commands besides."""

    def declare(function: Callable[..., Any]) -> Group:
        @functools.wraps(function)
        def unless_named(settings: Settings, *args: Any, **kwargs: Any) -> Any:
            named = click.get_current_context().invoked_subcommand
            return None if named else function(settings, *args, **kwargs)

        made = click.group(name, cls=Group, epilog=examples, invoke_without_command=True)
        return made(pass_settings(unless_named))

    return declare
