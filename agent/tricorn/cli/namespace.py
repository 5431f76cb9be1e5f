"""`tricorn namespace …`."""

from __future__ import annotations

from typing import Any

import click

from tricorn.cli import complete
from tricorn.cli.budget import budget, usage
from tricorn.cli.door import calls
from tricorn.cli.figures import age, labels, pairs
from tricorn.cli.output import each, emit_json, listing
from tricorn.cli.settings import Settings, command

namespace_command = click.Group("namespace", help="Make, label and remove namespaces.")


@command("ls", examples="tricorn namespace ls\ntricorn namespace ls -q")
@click.option("-q", "--quiet", is_flag=True, help="Print names only.")
def ls(settings: Settings, quiet: bool) -> None:
    """List namespaces."""
    items = settings.door.call(calls.namespaces())["items"]
    listing(settings, items, ("NAME", "CREATED", "LABELS"), _row, quiet=quiet)


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    return item["name"], age(item.get("created_at")), labels(item.get("labels"))


@command("create", examples="tricorn namespace create build -l owner=ci")
@click.option("-l", "--label", multiple=True, metavar="KEY=VALUE")
@click.argument("name")
def create(settings: Settings, name: str, label: tuple[str, ...]) -> None:
    """Make a namespace; one that exists gets exactly these labels."""
    change = settings.door.call(calls.put_namespace(name, pairs(label, "--label")))
    if settings.json:
        emit_json(change)
    else:
        click.echo(name)


@command("rm", examples="tricorn namespace rm build")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete.namespaces)
def rm(settings: Settings, names: tuple[str, ...]) -> int:
    """Remove empty namespaces."""
    return each(settings, names, lambda name: settings.door.call(calls.delete_namespace(name)))


@command("label", examples="tricorn namespace label build owner=ci\ntricorn namespace label build owner=")
@click.argument("name", shell_complete=complete.namespaces)
@click.argument("values", nargs=-1, required=True, metavar="KEY=VALUE...")
def label(settings: Settings, name: str, values: tuple[str, ...]) -> None:
    """Set labels of a namespace; an empty value removes one."""
    answer = settings.door.call(calls.patch_namespace(name, pairs(values, "KEY=VALUE")))
    if settings.json:
        emit_json(answer)
    else:
        click.echo(name)


for _made in (ls, create, rm, label, usage, budget):
    namespace_command.add_command(_made)
