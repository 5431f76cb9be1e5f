"""`--username` and `--password-stdin` of the commands that talk to registries."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def login_options(function: F) -> F:
    """Add both options to a command."""
    function = click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")(function)
    return click.option("-u", "--username", metavar="NAME")(function)


def login_of(options: dict[str, Any]) -> dict[str, str]:
    """Return the `auth` of a request, empty without; click.UsageError when one of them is missing."""
    if bool(options["username"]) != options["password_stdin"]:
        raise click.UsageError("--username and --password-stdin go together")
    if not options["username"]:
        return {}
    return {"username": options["username"], "password": sys.stdin.readline().rstrip("\r\n")}
