"""`tricorn lease …`."""

from __future__ import annotations

from typing import Any

import click

from tricorn.cli import complete
from tricorn.cli.door import calls
from tricorn.cli.figures import age, labels, pairs, parse_duration
from tricorn.cli.output import each, emit_json, table
from tricorn.cli.settings import Settings, command

lease_command = click.Group("lease", help="Keep objects from collection for a while.")


@command("ls", examples="tricorn lease ls\ntricorn lease ls -q")
@click.option("-q", "--quiet", is_flag=True, help="Print ids only.")
@click.option("--filter", "filters", multiple=True, metavar="FILTER")
def ls(settings: Settings, quiet: bool, filters: tuple[str, ...]) -> None:
    """List leases."""
    items = settings.door.call(calls.leases(settings.namespace, filters))["items"]
    if settings.json:
        emit_json(items)
    elif quiet:
        for item in items:
            click.echo(item["id"])
    else:
        table(("ID", "AGE", "EXPIRES", "LABELS"), map(_row, items))


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    found = dict(item.get("labels") or {})
    expires = found.pop("containerd.io/gc.expire", "never")
    return item["id"], age(item.get("created_at")), expires, labels(found)


@command("create", examples="tricorn lease create\ntricorn lease create --id build --expire 2h -l owner=ci")
@click.option("--id", metavar="ID", help="One is made up otherwise.")
@click.option("--expire", metavar="DURATION", help="The lease ends by itself after this.")
@click.option("-l", "--label", multiple=True, metavar="KEY=VALUE")
def create(settings: Settings, id: str | None, expire: str | None, label: tuple[str, ...]) -> None:
    """Make a lease and print its id."""
    seconds = None if expire is None else parse_duration(expire, "--expire")
    made = settings.door.call(calls.create_lease(settings.namespace, id, pairs(label, "--label"), seconds))
    if settings.json:
        emit_json(made)
    else:
        click.echo(made["id"])


@command("rm", examples="tricorn lease rm build")
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete.leases)
def rm(settings: Settings, ids: tuple[str, ...]) -> int:
    """End leases."""
    return each(settings, ids, lambda name: settings.door.call(calls.delete_lease(settings.namespace, name)))


for _made in (ls, create, rm):
    lease_command.add_command(_made)
