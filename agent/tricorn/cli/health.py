"""`tricorn health`."""

from __future__ import annotations

from typing import Any

import click

from tricorn.cli import complete
from tricorn.cli.door import calls
from tricorn.cli.figures import age
from tricorn.cli.output import clean, each
from tricorn.cli.settings import Settings, command


@command("health", examples="tricorn health web\ntricorn health --wait --timeout 120 web && echo ready")
@click.argument("names", nargs=-1, required=True, metavar="CONTAINER...", shell_complete=complete.containers)
@click.option("--wait", is_flag=True, help="Return once it is healthy.")
@click.option(
    "--timeout", type=float, default=60.0, show_default=True, metavar="SECONDS", help="With --wait."
)
def health(settings: Settings, names: tuple[str, ...], wait: bool, timeout: float) -> int:
    """Say how containers fare, by their health checks. The exit status is 0 if all are healthy, else 1."""
    sick = False

    def act(id: str) -> Any:
        nonlocal sick
        answer = settings.door.call(calls.health(settings.namespace, id, wait=wait, timeout=timeout))
        sick = sick or answer["status"] != "healthy"
        if not settings.json:
            click.echo(_line(id, answer))
        return answer

    return each(settings, names, act, say=False) or int(sick)


def _line(id: str, answer: dict[str, Any]) -> str:
    parts = [f"{id}: {answer['status']}"]
    if answer.get("checked_at"):
        parts.append(f"asked {age(answer['checked_at'])} ago")
    if answer.get("note"):
        parts.append(clean(answer["note"]))
    return ", ".join(parts)
