"""`tricorn namespace usage` and `tricorn namespace budget`."""

from __future__ import annotations

from typing import Any

import click

from tricorn.cli import complete
from tricorn.cli.door import calls
from tricorn.cli.figures import parse_size, size
from tricorn.cli.output import emit_json, table
from tricorn.cli.settings import Settings, command
from tricorn.client import upkeep_calls
from tricorn.errors import InvalidArgument

_PREFIX = "tricorn.budget/"
_COLUMNS = ("NAME", "CONTENT", "OWN", "SHARED", "SNAPSHOTS", "IMAGES", "CONTAINERS", "BUDGET")


@command("usage", examples="tricorn namespace usage\ntricorn namespace usage build --active")
@click.option("--active", is_flag=True, help="Measure what containers have written, too (reads directories).")
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=complete.namespaces)
def usage(settings: Settings, active: bool, names: tuple[str, ...]) -> None:
    """Say what namespaces use, and what their budgets are.

    CONTENT is that of a namespace's blobs; SHARED are those of them that others have as well.
    """
    chosen = names or tuple(item["name"] for item in settings.door.call(calls.namespaces())["items"])
    found = [settings.door.call(upkeep_calls.namespace_usage(name, active=active)) for name in chosen]
    if settings.json:
        emit_json(found)
        return
    columns = (*_COLUMNS[:5], *(("WRITTEN",) if active else ()), *_COLUMNS[5:])
    table(columns, (_row(item) for item in found))


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    written = () if item.get("active") is None else (size(item["active"]),)
    sizes = (size(item[key]) for key in ("content", "content_own", "content_shared", "snapshots"))
    counts = (str(item["images"]), str(item["containers"]))
    return (item["namespace"], *sizes, *written, *counts, _budget(item.get("budget") or {}))


def _budget(budget: dict[str, Any]) -> str:
    shown = [
        f"{kind}={size(bound) if kind == 'bytes' else bound}"
        for kind in ("bytes", "images", "containers")
        if (bound := budget.get(kind)) is not None
    ]
    return ",".join(shown) or "-"


_BUDGET = """\
tricorn namespace budget build
tricorn namespace budget build --bytes 20g --containers 50
tricorn namespace budget build --bytes none"""


@command("budget", examples=_BUDGET)
@click.option("--bytes", "size_", metavar="SIZE", help="Most bytes of content and snapshots; none: any.")
@click.option("--images", metavar="N", help="Most images; none: any.")
@click.option("--containers", metavar="N", help="Most containers; none: any.")
@click.argument("name", shell_complete=complete.namespaces)
def budget(
    settings: Settings, size_: str | None, images: str | None, containers: str | None, name: str
) -> None:
    """Show or set the budget of a namespace.

    It is kept as labels of the namespace. Where the agent's configuration has a budget as well, the smaller
    holds.
    """
    wanted = {
        **({} if size_ is None else {"bytes": _bytes(size_)}),
        **({} if images is None else {"images": _number(images, "--images")}),
        **({} if containers is None else {"containers": _number(containers, "--containers")}),
    }
    if wanted:
        changes = {f"{_PREFIX}{kind}": text for kind, text in wanted.items()}
        settings.door.call(calls.patch_namespace(name, changes))
    found = settings.door.call(upkeep_calls.namespace_usage(name)).get("budget") or {}
    if settings.json:
        emit_json(found)
    else:
        click.echo(_budget(found))


def _bytes(text: str) -> str:
    return "" if text == "none" else str(parse_size(text, "--bytes"))


def _number(text: str, field: str) -> str:
    if text != "none" and not (text.isascii() and text.isdecimal()):
        raise InvalidArgument(f"{text!r} isn't a number", hint="write a whole number, or none", field=field)
    return "" if text == "none" else text
