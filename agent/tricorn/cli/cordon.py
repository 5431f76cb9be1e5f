"""`tricorn node cordon` and `uncordon`: whether the node takes on new containers."""

from __future__ import annotations

from typing import Any

import click

from tricorn.cli.door import calls
from tricorn.cli.output import clean, emit_json
from tricorn.cli.settings import Settings, command

_CORDON = "tricorn node cordon --reason 'new disks'\ntricorn node cordon --dry-run"
_UNCORDON = "tricorn node uncordon"


@command("cordon", examples=_CORDON)
@click.option("--reason", metavar="TEXT", default="", help="Why; those who are refused are told.")
@click.option("--dry-run", is_flag=True, help="Show what would change.")
def cordon(settings: Settings, reason: str, dry_run: bool) -> None:
    """Have the node take on nothing new, until `node uncordon`; the agent's restarts don't change that.

    New containers, starts, restores, sandboxes and containers that other nodes bring are refused. What runs
    there runs on, restart policies go on to act, and execs, stops and migrations to other nodes work.
    """
    answer = settings.door.call(calls.put_cordon({"reason": reason}, plan=dry_run))
    _show(settings, answer, dry_run=dry_run)


@command("uncordon", examples=_UNCORDON)
@click.option("--dry-run", is_flag=True, help="Show what would change.")
def uncordon(settings: Settings, dry_run: bool) -> None:
    """Have the node take on containers again."""
    _show(settings, settings.door.call(calls.lift_cordon(plan=dry_run)), dry_run=dry_run)


def _show(settings: Settings, answer: Any, *, dry_run: bool) -> None:
    if settings.json:
        emit_json(answer)
        return
    after = answer["after"]
    state = "cordoned" if after["cordoned"] else "open to new containers"
    tense = "would be" if dry_run and answer["changed"] else "is"
    reason = f": {clean(after['reason'])}" if after["reason"] else ""
    click.echo(f"the node {tense} {state}{reason}")
