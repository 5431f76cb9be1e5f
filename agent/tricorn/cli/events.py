"""`tricorn events`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from tricorn.cli.door import calls
from tricorn.cli.output import clean, emit_json, emit_line
from tricorn.cli.settings import Settings, command
from tricorn.errors import from_problem

_EXAMPLES = """\
tricorn events
tricorn events -f --filter 'topic~=^/tasks/'
tricorn events --all-namespaces --since 1200
tricorn --json events -f | jq .topic"""


@command("events", examples=_EXAMPLES)
@click.option("-f", "--follow", is_flag=True, help="Wait for new ones.")
@click.option("--since", type=click.IntRange(min=0), metavar="CURSOR", help="Only those after this sequence.")
@click.option("--filter", "filters", multiple=True, metavar="FILTER", help="For example topic==/tasks/exit.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
def events_command(
    settings: Settings, follow: bool, since: int | None, filters: tuple[str, ...], all_namespaces: bool
) -> None:
    """Print the journal: what is kept, or with -f what happens from now on (or from --since on).

    --json prints a list, with -f one JSON document per line.
    """
    namespace = None if all_namespaces else settings.namespace
    if follow:
        call = calls.events(namespace, since=since, filters=filters, follow=True)
        for line in settings.door.lines(call):
            _show(settings, line)
        return
    kept = list(_pages(settings, namespace, since or 0, filters))
    if settings.json:
        emit_json([event for event in kept if "lost" not in event])
        return
    for event in kept:
        _show(settings, event)


def _pages(
    settings: Settings, namespace: str | None, since: int, filters: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Yield all that is kept, page by page; {"lost": n} where the journal begins later than asked for."""
    while True:
        page = settings.door.call(calls.events(namespace, since=since, filters=filters))
        if page.get("lost") and since:
            yield {"lost": page["lost"]}
        yield from page["items"]
        cursor = page.get("cursor")
        if not page["items"] or cursor is None or int(cursor) <= since:
            return
        since = int(cursor)


def _show(settings: Settings, line: dict[str, Any]) -> None:
    if isinstance(line.get("error"), dict) and "topic" not in line:
        raise from_problem(line["error"])
    if settings.json:
        emit_line(line)
    elif "lost" in line:
        click.echo(f"tricorn: {line['lost']} events are no longer kept", err=True)
    else:
        click.echo(clean(_text(line)))


def _text(event: dict[str, Any]) -> str:
    fields = " ".join(f"{key}={_brief(value)}" for key, value in (event.get("event") or {}).items())
    return f"{event['sequence']} {event['timestamp']} {event['namespace']} {event['topic']} {fields}".rstrip()


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:79] + "…"
