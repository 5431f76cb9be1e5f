"""`tricorn node`: stopping and starting all that it runs, and whether it takes on more."""

from __future__ import annotations

import click

from tricorn.cli.cordon import cordon, uncordon
from tricorn.cli.door import calls
from tricorn.cli.figures import parse_duration
from tricorn.cli.output import emit_json, table
from tricorn.cli.settings import Settings, command

node = click.Group("node", help="Stop and start all that the node runs; have it take on no more.")

_STOP = "tricorn node stop-all --dry-run\ntricorn node stop-all --timeout 30s"


@command("stop-all", examples=_STOP)
@click.option(
    "-t", "--timeout", metavar="DURATION", help="At most so long for each; its own grace otherwise."
)
@click.option("--dry-run", is_flag=True, help="Show the order, and stop nothing.")
def stop_all(settings: Settings, timeout: str | None, dry_run: bool) -> int:
    """Stop the containers of all namespaces, dependent ones first, each with its own signal and grace.

    Nothing is started again until `node start-all` or the agent's next start; then restart policies bring
    back what is to run.
    """
    seconds = None if timeout is None else parse_duration(timeout, "--timeout")
    answer = settings.door.call(calls.stop_node(timeout=seconds, plan=dry_run))
    if settings.json:
        emit_json(answer)
    else:
        rows = (
            (
                str(item["wave"]),
                item["namespace"],
                item["id"],
                item["error"] or ("-" if dry_run else "stopped"),
            )
            for item in answer["items"]
        )
        table(("WAVE", "NAMESPACE", "ID", "RESULT"), rows)
    return int(any(item["error"] for item in answer["items"]))


@command("start-all", examples="tricorn node start-all")
def start_all(settings: Settings) -> None:
    """Let restart policies act again after `stop-all`; what is to run comes back, in order."""
    answer = settings.door.call(calls.start_node())
    if settings.json:
        emit_json(answer)


node.add_command(stop_all)
node.add_command(start_all)
node.add_command(cordon)
node.add_command(uncordon)
