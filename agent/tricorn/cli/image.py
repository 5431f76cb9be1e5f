"""`tricorn image …`."""

from __future__ import annotations

from typing import Any

import click

from tricorn.cli import complete, progress
from tricorn.cli.figures import age, short_digest, size
from tricorn.cli.image_moves import export, import_, pinned, push, tag
from tricorn.cli.image_work import check, convert, label, referrers, usage
from tricorn.cli.operation import begun
from tricorn.cli.output import each, emit_json, emit_several, listing
from tricorn.cli.registry_login import login_of, login_options
from tricorn.cli.settings import Settings, command
from tricorn.client import image_calls as calls

image_command = click.Group("image", help="Pull, push, list, export, import, tag and remove images.")

_PULL = """\
tricorn image pull alpine
tricorn image pull --platform linux/arm64 docker.io/library/redis:7
tricorn image pull --also-platform linux/arm64 registry.example/app:1
tricorn image pull --all-platforms --no-unpack registry.example/app:1
tricorn image pull --plain-http 127.0.0.1:5000/app:1
tricorn image pull --detach redis:7
echo $TOKEN | tricorn image pull --username me --password-stdin registry.example/app"""


@command("pull", examples=_PULL)
@click.option("--platform", metavar="OS/ARCH", help="The node's own otherwise.")
@click.option(
    "--also-platform", "platforms", multiple=True, metavar="OS/ARCH",
    help="Bring the content for this one, too, to push or export it.",
)  # fmt: skip
@click.option("--all-platforms", is_flag=True, help="Bring the content for all that the image has.")
@click.option("--plain-http", is_flag=True, help="Pull without TLS.")
@click.option("--always", is_flag=True, help="Ask the registry even if the image is there.")
@click.option("--snapshotter", metavar="NAME", help="Unpack for this snapshotter.")
@click.option("--no-unpack", is_flag=True, help="Only fetch.")
@click.option("--with-referrers", is_flag=True, help="Bring also the artifacts that refer to it.")
@login_options
@progress.progress_options
@click.option("-d", "--detach", is_flag=True, help="Print the operation's id, and don't wait for it.")
@click.argument("reference", shell_complete=complete.images)
def pull(settings: Settings, reference: str, how: str, detach: bool, **options: Any) -> None:
    """Fetch and unpack an image unless it is there; prints its name and digest."""
    if options["platforms"] and options["all_platforms"]:
        raise click.UsageError("--also-platform and --all-platforms exclude each other")
    body = pull_request(reference, options)
    if auth := login_of(options):
        body["auth"] = auth
    if detach:
        begun(settings, calls.put_image(settings.namespace, body, detach=True))
        return
    with progress.display(how) as report:
        change = settings.door.work(calls.put_image(settings.namespace, body, stream=True), report)
        if options["with_referrers"]:
            fetch: dict[str, Any] = {"fetch": True}
            fetch |= {key: body[key] for key in ("plain_http", "auth") if key in body}
            name = (change.get("after") or {}).get("name", reference)
            settings.door.work(calls.ask_referrers(settings.namespace, name, fetch, stream=True), report)
    if settings.json:
        emit_json(change)
        return
    after = change.get("after") or {}
    for warning in change.get("warnings") or ():
        click.echo(f"tricorn: {warning}", err=True)
    click.echo(pinned(after.get("name", reference), after["digest"]) if "digest" in after else reference)


def pull_request(reference: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the ImageDesired of a command line, with the fields that were set only."""
    body: dict[str, Any] = {"reference": reference, "pull": "always" if options["always"] else "missing"}
    if options.get("platforms"):
        body["platforms"] = list(options["platforms"])
    for name in ("platform", "all_platforms", "plain_http", "snapshotter"):
        if options.get(name):
            body[name] = options[name]
    if options["no_unpack"]:
        body["unpack"] = False
    return body


@command("ls", examples="tricorn image ls\ntricorn image ls -q --filter 'name~=redis'")
@click.option("-q", "--quiet", is_flag=True, help="Print names only.")
@click.option("--no-trunc", is_flag=True, help="Print whole digests.")
@click.option("--filter", "filters", multiple=True, metavar="FILTER", help="For example name~=redis.")
def ls(settings: Settings, quiet: bool, no_trunc: bool, filters: tuple[str, ...]) -> None:
    """List images."""
    items = settings.door.call(calls.images(settings.namespace, filters))["items"]

    def row(item: dict[str, Any]) -> tuple[str, ...]:
        updated = age(item.get("updated_at") or item.get("created_at"))
        digest = short_digest(item["digest"], full=no_trunc)
        return item["name"], digest, item.get("platform") or "-", size(item.get("size") or 0), updated

    listing(settings, items, ("NAME", "DIGEST", "PLATFORM", "SIZE", "UPDATED"), row, quiet=quiet)


@command("inspect", examples="tricorn image inspect alpine\ntricorn image inspect alpine | jq .config")
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...", shell_complete=complete.images)
def inspect(settings: Settings, names: tuple[str, ...]) -> int:
    """Print all about images as JSON."""
    return emit_several(names, lambda name: settings.door.call(calls.image(settings.namespace, name)))


@command("rm", examples="tricorn image rm redis:7\ntricorn image rm --sync alpine busybox")
@click.option("--sync", is_flag=True, help="Return when the space is free again.")
@click.argument("names", nargs=-1, required=True, metavar="IMAGE...", shell_complete=complete.images)
def rm(settings: Settings, sync: bool, names: tuple[str, ...]) -> int:
    """Remove images by name; what nothing else needs is collected."""
    return each(
        settings,
        names,
        lambda name: settings.door.call(calls.delete_image(settings.namespace, name, sync=sync)),
    )


for _made in (
    pull, push, ls, inspect, check, usage, tag, label, convert, referrers, export, import_, rm
):  # fmt: skip
    image_command.add_command(_made)
