"""`tricorn migrate` and `tricorn migrations …`: running containers to other nodes."""

from __future__ import annotations

from typing import Any, Final

import click

from tricorn.cli import complete, progress
from tricorn.cli.figures import age, size
from tricorn.cli.operation import begun
from tricorn.cli.output import clean, emit_json, table
from tricorn.cli.settings import Settings, command
from tricorn.client.migration_calls import (
    get_migration,
    list_migrations,
    migrate_container,
    resolve_migration,
)

_MIGRATE: Final = """\
tricorn migrate web --to node-2
tricorn migrate web --to node-2.example:5443 --name web-2 --keep-image
tricorn migrate cache --to node-2 --lazy
tricorn migrate database --to node-2 --rounds 10
tricorn --json migrate web --to node-2 | jq .report.downtime_ms"""
_UNCERTAIN: Final = """\
tricorn migrations ls
tricorn migrations inspect 5f0c22d9a1b34e77
tricorn migrations resolve 5f0c22d9a1b34e77 --keep source"""

migrations_command = click.Group(
    "migrations", help="Show containers that moved, and settle what is uncertain."
)


@command("migrate", examples=_MIGRATE)
@click.option(
    "--to", required=True, metavar="NODE", help="A node of the configuration's [peers.nodes], or HOST:PORT."
)
@click.option("--name", default="", metavar="N", help="The container's name there (default: its own).")
@click.option("--keep-image", is_flag=True, help="Give the image its name there, too, if it is free.")
@click.option("--keep-address", is_flag=True, help="Move it only if its address in its network moves along.")
@click.option(
    "--tcp-established", is_flag=True, help="Allow open TCP connections; its address must move along."
)
@click.option(
    "--via", default="", metavar="REPOSITORY", help="Send all by this repository of a registry (HOST/PATH)."
)
@click.option("--plain-http", is_flag=True, help="Talk to that registry without TLS.")
@click.option(
    "--ext-unix", "external_unix_sockets", is_flag=True, help="Allow unix sockets to outside of it."
)
@click.option("--shell-job", is_flag=True, help="Allow a terminal from outside of it.")
@click.option("--file-locks/--no-file-locks", default=True, help="Take locks on files along (default: yes).")
@click.option("--lazy", is_flag=True, help="Let it go on there before it has its memory, which comes later.")
@click.option(
    "--rounds",
    type=click.IntRange(0),
    default=None,
    metavar="N",
    help="Rounds of memory, at most, before it stands still (default: what fits its memory; 0: none).",
)
@click.option("-d", "--detach", is_flag=True, help="Begin it, print the operation's id, and don't wait.")
@progress.progress_options
@click.argument("container", shell_complete=complete.containers)
def migrate(settings: Settings, container: str, how: str, detach: bool, **options: Any) -> None:
    """Move a running container to another node; its processes go on there, and it is deleted here.

    It stands still while its memory goes over; where the kernel tells which memory is written to, most of
    it goes before. If anything fails it goes on here; if nobody can tell, it stands still here until the
    other node is heard again (`tricorn migrations ls`).
    """
    if detach:
        begun(settings, migrate_container(settings.namespace, container, options, detach=True))
        return
    call = migrate_container(settings.namespace, container, options, stream=True)
    with progress.display(how) as report:
        done = settings.door.work(call, report)
    if settings.json:
        emit_json(done)
    else:
        click.echo(f"{done['name']} runs on {done['node']}: {_cost(done['report'])}")
    if why := done["report"]["image_stays"]:
        kept = f"{done['report']['image']} stays, with all that was in memory: {why}"
        click.echo(f"tricorn: {clean(kept)}", err=True)


def _cost(report: dict[str, Any]) -> str:
    before = report["image_bytes"] + report["rw_bytes"] + sum(report["round_bytes"])
    after = report["dump_bytes"] + report["final_rw_bytes"]
    return (
        f"stood still for {report['downtime_ms']} ms of {report['total_ms']},"
        f" {size(before)} sent before and {size(after)} meanwhile"
    )


@command("ls", examples=_UNCERTAIN)
def ls(settings: Settings) -> None:
    """List containers that moved from or to this node, the latest last."""
    items = settings.door.call(list_migrations(settings.namespace))["items"]
    if settings.json:
        emit_json(items)
        return
    columns = ("ID", "CONTAINER", "DIRECTION", "NODE", "STATE", "BEGUN", "STOOD STILL")
    table(columns, map(_row, items))


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    still = f"{item['report']['downtime_ms']} ms" if item["report"]["downtime_ms"] else "-"
    where = "to" if item["role"] == "out" else "from"
    return (
        item["id"], item["container"], where, item["node"], item["state"], age(item["created_at"]), still,
    )  # fmt: skip


@command("inspect", examples="tricorn migrations inspect 5f0c22d9a1b34e77")
@click.argument("id", shell_complete=complete.migrations)
def inspect(settings: Settings, id: str) -> None:
    """Show a migration: its state, its cost, and the way out of an uncertain one."""
    item = settings.door.call(get_migration(settings.namespace, id))
    if settings.json:
        emit_json(item)
        return
    shown = {key: value for key, value in item.items() if key != "report" and value not in ("", None)}
    for key, value in (*shown.items(), *item["report"].items()):
        click.echo(f"{key}: {clean(str(value))}")


@command("resolve", examples=_UNCERTAIN)
@click.option(
    "--keep", required=True, type=click.Choice(("source", "target")),
    help="source: let the copy here go on; target: delete it here, for it runs there.",
)  # fmt: skip
@click.argument("id", shell_complete=complete.migrations)
def resolve(settings: Settings, id: str, keep: str) -> None:
    """Settle an uncertain migration by hand, when the other node is lost for good.

    It is settled by itself when that node is back. Keeping the source while the target runs, too, makes two
    copies.
    """
    item = settings.door.call(resolve_migration(settings.namespace, id, keep))
    if settings.json:
        emit_json(item)
    else:
        click.echo(f"{item['id']}: {item['state']}")


for _each in (ls, inspect, resolve):
    migrations_command.add_command(_each)
