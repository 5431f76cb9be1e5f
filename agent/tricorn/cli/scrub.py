"""`tricorn content scrub` and `tricorn content quarantine …`."""

from __future__ import annotations

from typing import Any

import click

from tricorn.cli import complete, progress
from tricorn.cli.door import calls
from tricorn.cli.figures import age, duration, size
from tricorn.cli.output import clean, each, emit_json, table
from tricorn.cli.settings import Settings, command
from tricorn.client import upkeep_calls

_SCRUB = """\
tricorn content scrub
tricorn content scrub --now
tricorn content scrub --now --in-namespace default --keep-orphans"""


@command("scrub", examples=_SCRUB)
@click.option("--now", is_flag=True, help="Verify at once and at full speed, not in idle time.")
@click.option(
    "--in-namespace", metavar="NS", shell_complete=complete.namespaces,
    help="With --now: only the blobs of this namespace.",
)  # fmt: skip
@click.option("--keep-orphans", is_flag=True, help="With --now: leave files that no record names.")
@progress.progress_options
def scrub(settings: Settings, now: bool, in_namespace: str | None, keep_orphans: bool, how: str) -> int:
    """Say how far the verification of blobs on disk has come, or do it now.

    Damaged blobs go into quarantine: no namespace has them any more, and a pull brings them anew. The exit
    status is 1 if --now finds any.
    """
    if not now:
        _show_status(settings)
        return 0
    call = upkeep_calls.scrub(namespace=in_namespace or "", keep_orphans=keep_orphans, stream=True)
    with progress.display(how) as report:
        answer = settings.door.work(call, report)
    if settings.json:
        emit_json(answer)
    else:
        _show_report(answer)
    return 1 if answer.get("damaged") else 0


def _show_status(settings: Settings) -> None:
    status = settings.door.call(upkeep_calls.scrub_status())
    if settings.json:
        emit_json(status)
        return
    every = f"every {duration(status['interval'])}, at most {size(status['rate'])} a second"
    click.echo(f"verification: {every if status['enabled'] else 'off'}")
    oldest = age(status.get("oldest_check"))
    click.echo(f"blobs: {status['blobs']}, {status['never_checked']} never verified, oldest {oldest} ago")
    click.echo(f"quarantine: {status['quarantined']} blobs, {status['waiting']} of them still missed")
    if status.get("current"):
        click.echo(clean(f"reading: {status['current']} at {size(status['offset'])}"))


def _show_report(answer: dict[str, Any]) -> None:
    for item in answer.get("damaged") or ():
        restored = " (restored)" if item["digest"] in (answer.get("restored") or ()) else ""
        click.echo(clean(f"damaged: {item['digest']}: {item['why']}{restored}"))
    for line in answer.get("failed") or ():
        click.echo(clean(f"not restored: {line}"))
    for item in answer.get("orphans") or ():
        click.echo(clean(f"without a record: {item['digest']}, {size(item['size'])}"))
    damaged, orphans = len(answer.get("damaged") or ()), len(answer.get("orphans") or ())
    click.echo(
        f"{answer['checked']} blobs verified, {size(answer['bytes'])}, in {answer['seconds']:.1f} s: "
        f"{damaged} damaged, {orphans} without a record"
    )


quarantine_command = click.Group("quarantine", help="Blobs that were damaged on disk.")


@command("ls", examples="tricorn content quarantine ls\ntricorn content quarantine ls --json")
def ls(settings: Settings) -> None:
    """List blobs that were taken out of service."""
    items = settings.door.call(upkeep_calls.quarantine())["items"]
    if settings.json:
        emit_json(items)
        return
    rows = [
        (
            item["digest"], size(item["size"]), age(item.get("found_at")),
            ",".join(item.get("namespaces") or ()) or "-", "yes" if item.get("restored") else "no",
            item["why"],
        )
        for item in items
    ]  # fmt: skip
    table(("DIGEST", "SIZE", "FOUND", "MISSED BY", "RESTORED", "WHY"), rows)


@command("fetch", examples="tricorn content quarantine fetch sha256:…")
@click.argument("digests", nargs=-1, required=True, metavar="DIGEST...", shell_complete=complete.quarantined)
def fetch(settings: Settings, digests: tuple[str, ...]) -> int:
    """Bring blobs back from the registries that they came from."""
    return each(settings, digests, lambda digest: settings.door.call(upkeep_calls.fetch_quarantined(digest)))


@command(
    "rm", examples="tricorn content quarantine rm sha256:…\ntricorn content quarantine rm --force sha256:…"
)
@click.option("--force", is_flag=True, help="Although namespaces still miss them.")
@click.argument("digests", nargs=-1, required=True, metavar="DIGEST...", shell_complete=complete.quarantined)
def rm(settings: Settings, force: bool, digests: tuple[str, ...]) -> int:
    """Remove blobs from quarantine, files and all."""
    return each(
        settings,
        digests,
        lambda digest: settings.door.call(upkeep_calls.release_quarantined(digest, force=force)),
    )


@command("inspect", examples="tricorn content inspect sha256:…")
@click.argument("digest", shell_complete=complete.blobs)
def inspect(settings: Settings, digest: str) -> None:
    """Print a blob's record, and when the blob was last verified on disk."""
    record = settings.door.call(calls.blob(settings.namespace, digest))
    check = settings.door.call(upkeep_calls.blob_check(settings.namespace, digest))
    emit_json({**record, "checked_at": check.get("checked_at")})


for _made in (ls, fetch, rm):
    quarantine_command.add_command(_made)
