"""`tricorn snapshot …`."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from tricorn.cli import complete
from tricorn.cli.commit import timestamp as moment
from tricorn.cli.door import calls
from tricorn.cli.figures import age, size, truncate
from tricorn.cli.image_moves import write_parts
from tricorn.cli.output import each, emit_json, table
from tricorn.cli.settings import Settings, command
from tricorn.cli.snapshot_making import commit, label, prepare, view
from tricorn.errors import InvalidArgument, NotFound

snapshot_command = click.Group("snapshot", help="Make, look at and remove snapshots, take layers of them.")
_snapshotter = click.option("--snapshotter", default="", metavar="NAME", help="Only of this snapshotter.")


@command("ls", examples="tricorn snapshot ls\ntricorn snapshot ls --snapshotter overlayfs -q")
@_snapshotter
@click.option("-q", "--quiet", is_flag=True, help="Print keys only.")
@click.option("--no-trunc", is_flag=True, help="Print whole keys and parents.")
@click.option("--filter", "filters", multiple=True, metavar="FILTER", help="For example kind==active.")
def ls(settings: Settings, snapshotter: str, quiet: bool, no_trunc: bool, filters: tuple[str, ...]) -> None:
    """List snapshots."""
    items = settings.door.call(calls.snapshots(settings.namespace, snapshotter, filters))["items"]
    if settings.json:
        emit_json(items)
    elif quiet:
        for item in items:
            click.echo(item["key"])
    else:
        columns = ("SNAPSHOTTER", "KEY", "KIND", "PARENT", "SIZE", "AGE")
        table(columns, (_row(item, full=no_trunc) for item in items))


def _row(item: dict[str, Any], *, full: bool) -> tuple[str, ...]:
    return (
        item["snapshotter"],
        truncate(item["key"], 32, full=full),
        item["kind"],
        truncate(item.get("parent") or "-", 24, full=full),
        size((item.get("usage") or {}).get("size") or 0),
        age(item.get("created_at")),
    )


@command("rm", examples="tricorn snapshot rm --snapshotter overlayfs web")
@_snapshotter
@click.argument("keys", nargs=-1, required=True, metavar="KEY...", shell_complete=complete.snapshots)
def rm(settings: Settings, snapshotter: str, keys: tuple[str, ...]) -> int:
    """Remove snapshots that have no children."""

    def act(key: str) -> Any:
        where = snapshotter or _home(settings, key)
        return settings.door.call(calls.delete_snapshot(settings.namespace, where, key))

    return each(settings, keys, act)


def _home(settings: Settings, key: str) -> str:
    """Return the one snapshotter that has `key`."""
    items = settings.door.call(calls.snapshots(settings.namespace))["items"]
    homes = sorted({str(item["snapshotter"]) for item in items if item["key"] == key})
    if not homes:
        raise NotFound(f"snapshot {key} does not exist")
    if len(homes) > 1:
        raise InvalidArgument(
            f"snapshot {key} exists in {', '.join(homes)}", hint="name one with --snapshotter"
        )
    return homes[0]


_DIFF: Final = """\
tricorn snapshot diff -o layer.tar.gz web
tricorn snapshot diff --compression none web | tar -tv
tricorn snapshot diff --timestamp 0 web ''"""


@command("diff", examples=_DIFF)
@click.option("--snapshotter", default="", metavar="NAME", help="The one that has it.")
@click.option("-o", "--output", metavar="FILE", default="-", help="Write there instead of to stdout.")
@click.option("--compression", type=click.Choice(["gzip", "zstd", "none"]), default="gzip", show_default=True)
@click.option("--timestamp", metavar="TIME", help="Of the latest files: seconds or RFC 3339.")
@click.argument("key", shell_complete=complete.snapshots)
@click.argument("parent", required=False)
def diff(
    settings: Settings, key: str, parent: str | None, snapshotter: str, output: str, compression: str,
    timestamp: str | None,
) -> None:  # fmt: skip
    """Write what a snapshot adds to its parent, or to PARENT ('': to nothing), as a layer."""
    if output == "-" and sys.stdout.isatty():
        raise click.UsageError("a layer is nothing for a terminal: give --output FILE, or a pipe")
    body: dict[str, Any] = {"compression": compression}
    if parent is not None:
        body["parent"] = parent
    if timestamp:
        body["timestamp"] = moment(timestamp, "--timestamp")
    where = snapshotter or _home(settings, key)
    call = calls.snapshot_diff(settings.namespace, where, key, body)
    count = write_parts(settings.door.chunks(call), output)
    if settings.json and output != "-":
        emit_json({"file": output, "bytes": count})


for _made in (prepare, view, commit, label, diff, ls, rm):
    snapshot_command.add_command(_made)
