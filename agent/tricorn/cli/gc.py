"""`tricorn gc`."""

from __future__ import annotations

import click

from tricorn.cli.door import calls
from tricorn.cli.figures import size
from tricorn.cli.output import clean, emit_json, table
from tricorn.cli.settings import Settings, command, group

_EXAMPLES = """\
tricorn gc --dry-run
tricorn gc
tricorn gc explain image/docker.io/library/alpine:latest
tricorn gc explain snapshot/overlayfs/web"""


@group("gc", examples=_EXAMPLES)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def gc_command(settings: Settings, dry_run: bool) -> None:
    """Remove what nothing needs, in all namespaces, or explain why an object is kept."""
    report = settings.door.call(calls.collect(dry_run=dry_run))
    if settings.json:
        emit_json(report)
        return
    rows = [(item["namespace"], item["type"], item["key"]) for item in report["removed"]]
    if rows:
        table(("NAMESPACE", "TYPE", "KEY"), rows)
    verb = "would be removed" if dry_run else "removed"
    click.echo(f"{len(rows)} objects {verb}, {size(report['bytes'])}, in {report['seconds']:.1f} s")


@command("explain", examples="tricorn gc explain content/sha256:…\ntricorn gc explain container/web")
@click.argument("object")
def explain(settings: Settings, object: str) -> None:
    """Say why OBJECT is kept.

    It is content/DIGEST, image/NAME, snapshot/SNAPSHOTTER/KEY, container/ID, sandbox/ID, lease/ID,
    ingest/REF, mount/NAME or stream/ID. What keeps it, and until when; or what no longer does.
    """
    answer = settings.door.call(calls.explain(settings.namespace, object))
    if settings.json:
        emit_json(answer)
        return
    click.echo(clean(f"{answer['object']}: {'kept' if answer['kept'] else 'not kept'}"))
    for depth, link in enumerate(answer.get("chain") or ()):
        click.echo(clean(f"{'  ' * depth}{'└ ' if depth else ''}{link}"))
    if len(answer.get("keepers") or ()) > 1:
        click.echo("kept by:")
        for item in answer["keepers"]:
            click.echo(clean(f"  {item['object']}: {item['reason']}"))
    if answer.get("note"):
        click.echo(clean(answer["note"]))


gc_command.add_command(explain)
