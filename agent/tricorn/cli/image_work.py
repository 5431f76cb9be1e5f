"""`tricorn image convert`, `referrers`, `check`, `usage` and `label`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import click

from tricorn.cli import complete, progress
from tricorn.cli.figures import pairs, parse_duration, shifted, short_digest, size
from tricorn.cli.output import emit_json, print_made, table
from tricorn.cli.registry_login import login_of, login_options
from tricorn.cli.settings import Settings, command
from tricorn.client import image_calls as calls
from tricorn.errors import FailedPrecondition

EXPIRE: Final = "containerd.io/gc.expire"
_images = click.argument("names", nargs=-1, metavar="[IMAGE]...", shell_complete=complete.images)

_CONVERT: Final = """\
tricorn image convert --oci --compression zstd redis:7 registry.example/redis:7-zstd
tricorn image convert --docker --compression gzip app:1 app:1-docker
tricorn image convert --platform linux/amd64 --platform linux/arm64 app:1 app:1-slim"""


@command("convert", examples=_CONVERT)
@click.option("--oci", is_flag=True, help="In OCI's form.")
@click.option("--docker", is_flag=True, help="In Docker's form (schema 2).")
@click.option("--compression", type=click.Choice(["gzip", "zstd", "none"]), help="Of all layers.")
@click.option("--platform", "platforms", multiple=True, metavar="OS/ARCH", help="Leave the others out.")
@progress.progress_options
@click.argument("source", shell_complete=complete.images)
@click.argument("reference")
def convert(
    settings: Settings, source: str, reference: str, oci: bool, docker: bool, compression: str | None,
    platforms: tuple[str, ...], how: str,
) -> None:  # fmt: skip
    """Make REFERENCE of an image: in another form, compressed otherwise, or for fewer platforms."""
    if oci and docker:
        raise click.UsageError("--oci and --docker exclude each other")
    body: dict[str, Any] = {"reference": reference}
    if oci or docker:
        body["form"] = "oci" if oci else "docker"
    if compression:
        body["compression"] = compression
    if platforms:
        body["platforms"] = list(platforms)
    with progress.display(how) as report:
        result = settings.door.work(
            calls.convert_image(settings.namespace, source, body, stream=True), report
        )
    print_made(settings, result)


_REFERRERS: Final = """\
tricorn image referrers registry.example/app:1
tricorn image referrers --type application/spdx+json --fetch registry.example/app:1
tricorn image referrers --local app:1"""


@command("referrers", examples=_REFERRERS)
@click.option("--type", "kind", default="", metavar="TYPE", help="Only artifacts of this type.")
@click.option("--local", is_flag=True, help="Those on the node; the registry isn't asked.")
@click.option("--fetch", is_flag=True, help="Bring them; they stay as long as the image.")
@click.option("--platform", metavar="OS/ARCH", help="Of this platform's image; the index otherwise.")
@click.option("--plain-http", is_flag=True, help="Ask without TLS.")
@login_options
@click.option("--no-trunc", is_flag=True, help="Print whole digests.")
@click.argument("image", shell_complete=complete.images)
def referrers(
    settings: Settings, image: str, kind: str, local: bool, fetch: bool, no_trunc: bool, **options: Any
) -> None:
    """List the artifacts that refer to an image: signatures, bills of materials and the like."""
    if local and fetch:
        raise click.UsageError("--local and --fetch exclude each other")
    platform = options["platform"] or ""
    if local:
        call = calls.referrers(settings.namespace, image, type=kind, platform=platform)
        result = settings.door.call(call)
    else:
        wanted = {"type": kind, "platform": platform, "fetch": fetch, "plain_http": options["plain_http"]}
        body: dict[str, Any] = {key: value for key, value in wanted.items() if value}
        if auth := login_of(options):
            body["auth"] = auth
        result = settings.door.call(calls.ask_referrers(settings.namespace, image, body))
    if settings.json:
        emit_json(result)
        return
    rows = (
        (short_digest(each["digest"], full=no_trunc), each.get("artifact_type") or "-", size(each["size"]),
         "yes" if each.get("present") else "no")
        for each in result.get("referrers") or ()
    )  # fmt: skip
    table(("DIGEST", "TYPE", "SIZE", "HERE"), rows)


_CHECK: Final = """\
tricorn image check
tricorn image check --all-platforms app:1 || tricorn image pull --always app:1"""


@command("check", examples=_CHECK)
@click.option("--platform", metavar="OS/ARCH", help="The node's own otherwise.")
@click.option("--all-platforms", is_flag=True, help="All platforms that the images have.")
@_images
def check(settings: Settings, platform: str | None, all_platforms: bool, names: tuple[str, ...]) -> int:
    """Tell whether images are all there, what is missing, and which snapshotters have them unpacked.

    Exits with 8 when one isn't complete.
    """
    if platform and all_platforms:
        raise click.UsageError("--platform and --all-platforms exclude each other")
    call = calls.check_images(settings.namespace, names, platform=platform or "", all_platforms=all_platforms)
    items = settings.door.call(call)["items"]
    if settings.json:
        emit_json(items)
    else:
        table(("NAME", "STATUS", "BLOBS", "SIZE", "UNPACKED"), (_checked(item) for item in items))
        for item in items:
            _missing(item)
    return 0 if all(item["complete"] for item in items) else FailedPrecondition.exit_status


def _checked(item: dict[str, Any]) -> tuple[str, ...]:
    return (
        item["name"], "complete" if item["complete"] else "incomplete",
        f"{item.get('present', 0)}/{item.get('blobs', 0)}",
        f"{size(item.get('present_size', 0))}/{size(item.get('size', 0))}",
        ",".join(item.get("unpacked") or ()) or "-",
    )  # fmt: skip


def _missing(item: dict[str, Any]) -> None:
    for blob in item.get("missing") or ():
        click.echo(f"{item['name']}: {blob['state']} {blob['digest']} ({size(blob['size'])})", err=True)
    if item.get("problem"):
        click.echo(f"{item['name']}: {item['problem']}", err=True)


@command(
    "usage", examples="tricorn image usage\ntricorn image usage redis:7\ntricorn --json image usage | jq"
)
@_images
def usage(settings: Settings, names: tuple[str, ...]) -> None:
    """Show how many bytes images take, and how many of them no other image has."""
    result = settings.door.call(calls.image_usage(settings.namespace, names))
    if settings.json:
        emit_json(result)
        return
    rows = [_used(item) for item in result["images"]]
    rows.append(("together", size(result["content"]), "", size(result["snapshots"]), ""))
    table(("NAME", "CONTENT", "UNIQUE", "SNAPSHOTS", "UNIQUE"), rows)


def _used(item: dict[str, Any]) -> tuple[str, ...]:
    figures = ("content", "content_unique", "snapshots", "snapshots_unique")
    return (item["name"], *(size(item[figure]) for figure in figures))


_LABEL: Final = """\
tricorn image label app:1 team=web tier=
tricorn image label --expire 24h registry.example/app:test
tricorn image label --expire never registry.example/app:test"""


@command("label", examples=_LABEL)
@click.option("--expire", metavar="DURATION", help="Let the image go after this time; never: keep it.")
@click.argument("image", shell_complete=complete.images)
@click.argument("labels", nargs=-1, metavar="[KEY=VALUE]...")
def label(settings: Settings, image: str, labels: tuple[str, ...], expire: str | None) -> None:
    """Set labels of an image; an empty value removes one. Prints all that it has."""
    changes = pairs(labels, "labels")
    if expire is not None:
        changes[EXPIRE] = "" if expire == "never" else _after(expire)
    if not changes:
        raise click.UsageError("give labels, or --expire")
    result = settings.door.call(calls.label_image(settings.namespace, image, changes))
    if settings.json:
        emit_json(result)
        return
    for key, text in sorted((result.get("labels") or {}).items()):
        click.echo(f"{key}={text}")


def _after(text: str) -> str:
    moment = shifted(datetime.now(UTC), parse_duration(text, "--expire"), "--expire")
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
