"""`tricorn apply`: a node's whole desired state from a file."""

from __future__ import annotations

import json
import sys
import tomllib
from typing import Any, Final

import click

from tricorn.cli import progress
from tricorn.cli.output import emit_json
from tricorn.cli.settings import Settings, command
from tricorn.client.node_state_calls import put_node_state
from tricorn.errors import InvalidArgument

_EXAMPLES: Final = """\
tricorn apply node.toml
tricorn apply --plan node.json
generate | tricorn apply -"""


@command("apply", examples=_EXAMPLES)
@click.option("--plan", is_flag=True, help="Tell what would be done, and do nothing.")
@progress.progress_options
@click.argument("file", type=click.Path(allow_dash=True))
def apply(settings: Settings, file: str, plan: bool, how: str) -> None:
    """Bring the node to the state that FILE describes: networks, namespaces, images and containers.

    FILE is TOML or JSON in the terms of the HTTP API (`PUT /v1/apply`); `-` is stdin. What is there already
    stays as it is. Prints what was done.
    """
    body = read_state(file)
    if plan:
        change = settings.door.call(put_node_state(body, plan=True))
    else:
        with progress.display(how) as report:
            change = settings.door.work(put_node_state(body, stream=True), report)
    if settings.json:
        emit_json(change)
        return
    for action in change["actions"]:
        reason = f"  ({action['reason']})" if action.get("reason") else ""
        click.echo(f"{action['verb']} {action['object']}{reason}")
    for warning in change.get("warnings", ()):
        click.echo(f"tricorn: {warning}", err=True)


def read_state(path: str) -> dict[str, Any]:
    """Return the desired state in a file of TOML or JSON, `-` for stdin. InvalidArgument if it is neither."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                data = file.read()
        text = data.decode()
        found: Any = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except OSError as error:
        raise InvalidArgument(f"{path} can't be read", why=error.strerror or "") from None
    except ValueError as error:
        raise InvalidArgument(f"{path} is neither TOML nor JSON", why=str(error)) from None
    assert isinstance(found, dict), "both kinds of documents are tables"
    return found
