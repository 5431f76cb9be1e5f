"""`tricorn content …`."""

from __future__ import annotations

import sys

import click

from tricorn.cli import complete
from tricorn.cli.door import calls
from tricorn.cli.figures import age, labels, pairs, size
from tricorn.cli.output import each, emit_json, table
from tricorn.cli.scrub import inspect, quarantine_command, scrub
from tricorn.cli.settings import Settings, command

content_command = click.Group("content", help="Look at, verify and remove blobs.")


@command("ls", examples="tricorn content ls\ntricorn content ls --filter 'labels.\"containerd.io/gc.root\"'")
@click.option("-q", "--quiet", is_flag=True, help="Print digests only.")
@click.option("--no-trunc", is_flag=True, help="Print labels too.")
@click.option("--filter", "filters", multiple=True, metavar="FILTER")
def ls(settings: Settings, quiet: bool, no_trunc: bool, filters: tuple[str, ...]) -> None:
    """List blobs."""
    items = settings.door.call(calls.content(settings.namespace, filters))["items"]
    if settings.json:
        emit_json(items)
        return
    if quiet:
        for item in items:
            click.echo(item["digest"])
        return
    rows = ((item["digest"], size(item["size"]), age(item.get("created_at")), item) for item in items)
    columns = ("DIGEST", "SIZE", "AGE", "LABELS")
    table(
        columns if no_trunc else columns[:3],
        ((*row, labels(item.get("labels"))) if no_trunc else tuple(row) for *row, item in rows),
    )


@command("get", examples="tricorn content get sha256:… | jq\ntricorn content get sha256:… > layer.tar.gz")
@click.argument("digest", shell_complete=complete.blobs)
def get(settings: Settings, digest: str) -> None:
    """Write a blob's bytes to stdout."""
    for chunk in settings.door.chunks(calls.blob_data(settings.namespace, digest)):
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


@command("rm", examples="tricorn content rm sha256:…")
@click.argument("digests", nargs=-1, required=True, metavar="DIGEST...", shell_complete=complete.blobs)
def rm(settings: Settings, digests: tuple[str, ...]) -> int:
    """Remove blobs from the namespace, needed or not."""
    return each(
        settings, digests, lambda digest: settings.door.call(calls.delete_blob(settings.namespace, digest))
    )


@command("label", examples="tricorn content label sha256:… team=web\ntricorn content label sha256:… team=")
@click.argument("digest", shell_complete=complete.blobs)
@click.argument("values", nargs=-1, required=True, metavar="KEY=VALUE...")
def label(settings: Settings, digest: str, values: tuple[str, ...]) -> None:
    """Set labels of a blob; an empty value removes one. Prints all that it has."""
    desired = {"labels": pairs(values, "labels")}
    after = settings.door.call(calls.put_blob(settings.namespace, digest, desired))["after"]
    if settings.json:
        emit_json(after)
        return
    for key, value in sorted(after["labels"].items()):
        click.echo(f"{key}={value}")


for _made in (ls, get, inspect, label, rm, scrub, quarantine_command):
    content_command.add_command(_made)
