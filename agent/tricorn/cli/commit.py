"""`tricorn commit`: an image out of a container."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any, Final

import click

from tricorn.cli import complete, progress
from tricorn.cli.door import calls
from tricorn.cli.output import print_made
from tricorn.cli.settings import Settings, command
from tricorn.errors import InvalidArgument

_VARIABLE: Final = "SOURCE_DATE_EPOCH"
_COMMIT: Final = """\
tricorn commit web registry.example/team/web:debug
tricorn commit --change 'CMD ["nginx"]' --change 'ENV MODE=test' -m 'with tools' web web:tools
tricorn commit --timestamp 0 --compression zstd build app:1"""


@command("commit", examples=_COMMIT)
@click.option("-a", "--author", default="", metavar="NAME", help="Who is named in the image's history.")
@click.option("-m", "--message", default="", metavar="TEXT", help="What is noted there.")
@click.option(
    "-c", "--change", "changes", multiple=True, metavar="INSTRUCTION",
    help="CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR, as in a Dockerfile.",
)  # fmt: skip
@click.option("--pause/--no-pause", default=True, help="Freeze the container meanwhile (default: yes).")
@click.option("--compression", type=click.Choice(["gzip", "zstd", "none"]), default="gzip", show_default=True)
@click.option(
    "--timestamp", metavar="TIME",
    help=f"Of the image and the latest of its files: seconds or RFC 3339; {_VARIABLE} otherwise.",
)  # fmt: skip
@click.option("--no-unpack", is_flag=True, help="Only store.")
@progress.progress_options
@click.argument("container", shell_complete=complete.containers)
@click.argument("reference")
def commit(settings: Settings, container: str, reference: str, how: str, **options: Any) -> None:
    """Make an image of a container's files; prints its name and digest."""
    body: dict[str, Any] = {"reference": reference, "compression": options["compression"]}
    for name in ("author", "message"):
        if options[name]:
            body[name] = options[name]
    if options["changes"]:
        body["changes"] = list(options["changes"])
    if not options["pause"]:
        body["pause"] = False
    if options["no_unpack"]:
        body["unpack"] = False
    if moment := options["timestamp"] or os.environ.get(_VARIABLE):
        body["timestamp"] = timestamp(moment, "--timestamp" if options["timestamp"] else _VARIABLE)
    call = calls.commit_container(settings.namespace, container, body, stream=True)
    with progress.display(how) as report:
        result = settings.door.work(call, report)
    print_made(settings, result)


def timestamp(text: str, field: str) -> str:
    """Return seconds since 1970, or a time that says its offset, as RFC 3339. InvalidArgument."""
    try:
        if text.isdecimal():
            return datetime.fromtimestamp(int(text), UTC).isoformat()
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        found = None
    if found is None or found.tzinfo is None:
        hint = "write 0 or 1700000000, or a time like 2026-01-31T12:00:00Z"
        raise InvalidArgument(f"{text[:60]!r} is no time", hint=hint, field=field)
    return found.isoformat()
