"""`tricorn lease …`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from tricorn.cli import complete
from tricorn.cli.door import calls
from tricorn.cli.figures import age, labels, pairs, parse_duration
from tricorn.cli.output import each, emit_json, table
from tricorn.cli.settings import Settings, command
from tricorn.client import upkeep_calls
from tricorn.errors import InvalidArgument

lease_command = click.Group("lease", help="Keep objects from collection for a while.")
_TYPES = {"content": "content", "image": "images", "ingest": "ingests"}


@command("ls", examples="tricorn lease ls\ntricorn lease ls -q --filter 'labels.owner==ci'")
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


_CREATE = """\
tricorn lease create
tricorn lease create --id build --expires 2h -l owner=ci
tricorn lease create --id forever --expires 0"""


@command("create", examples=_CREATE)
@click.option("--id", metavar="ID", help="One is made up otherwise.")
@click.option(
    "--expires", "--expire", "expires", metavar="DURATION",
    help="The lease ends by itself after this; 0: never. [default: 24h]",
)  # fmt: skip
@click.option("-l", "--label", multiple=True, metavar="KEY=VALUE")
@click.option("--flat", is_flag=True, help="Hold what it lists only, not what that refers to by labels.")
def create(
    settings: Settings, id: str | None, expires: str | None, label: tuple[str, ...], flat: bool
) -> None:
    """Make a lease and print its id."""
    seconds = None if expires is None else parse_duration(expires, "--expires")
    wanted = {**pairs(label, "--label"), **({"containerd.io/gc.flat": "true"} if flat else {})}
    made = settings.door.call(calls.create_lease(settings.namespace, id, wanted, seconds))
    if settings.json:
        emit_json(made)
    else:
        click.echo(made["id"])


@command("rm", examples="tricorn lease rm build\ntricorn lease rm --sync build")
@click.option("--sync", is_flag=True, help="Collect what they alone kept before returning.")
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete.leases)
def rm(settings: Settings, sync: bool, ids: tuple[str, ...]) -> int:
    """End leases."""
    ns, last = settings.namespace, ids[-1]

    def end(name: str) -> Any:
        return settings.door.call(upkeep_calls.delete_lease(ns, name, sync=sync and name == last))

    return each(settings, ids, end)


@command("resources", examples="tricorn lease resources build")
@click.argument("id", shell_complete=complete.leases)
def resources(settings: Settings, id: str) -> None:
    """List what a lease holds."""
    items = settings.door.call(upkeep_calls.lease_resources(settings.namespace, id))["items"]
    if settings.json:
        emit_json(items)
    else:
        table(("TYPE", "ID"), [(item["type"], item["id"]) for item in items])


_OBJECT = "It is content/DIGEST, image/NAME, snapshot/SNAPSHOTTER/KEY or ingest/REF."


@command("add", examples="tricorn lease add build content/sha256:…\ntricorn lease add build image/NAME")
@click.argument("id", shell_complete=complete.leases)
@click.argument("objects", nargs=-1, required=True, metavar="OBJECT...")
def add(settings: Settings, id: str, objects: tuple[str, ...]) -> int:
    """Have a lease hold objects, which need not be there yet.

    An object is content/DIGEST, image/NAME, snapshot/SNAPSHOTTER/KEY or ingest/REF.
    """
    return _each_object(settings, objects, partial(upkeep_calls.add_to_lease, settings.namespace, id))


@command("drop", examples="tricorn lease drop build snapshot/overlayfs/KEY")
@click.argument("id", shell_complete=complete.leases)
@click.argument("objects", nargs=-1, required=True, metavar="OBJECT...")
def drop(settings: Settings, id: str, objects: tuple[str, ...]) -> int:
    """Have a lease let go of objects.

    An object is content/DIGEST, image/NAME, snapshot/SNAPSHOTTER/KEY or ingest/REF.
    """
    return _each_object(settings, objects, partial(upkeep_calls.drop_from_lease, settings.namespace, id))


def _each_object(settings: Settings, objects: tuple[str, ...], call: Callable[..., Any]) -> int:
    return each(settings, objects, lambda text: settings.door.call(call(*_resource(text))))


def _resource(text: str) -> tuple[str, str]:
    """Return the type and id of what people write as in `tricorn gc explain`."""
    kind, _, key = text.partition("/")
    if kind == "snapshot":
        snapshotter, _, key = key.partition("/")
        if snapshotter and key:
            return f"snapshots/{snapshotter}", key
    elif kind in _TYPES and key:
        return _TYPES[kind], key
    raise InvalidArgument(f"{text[:200]!r} is no object that a lease can hold", hint=_OBJECT, field="OBJECT")


for _made in (ls, create, rm, resources, add, drop):
    lease_command.add_command(_made)
