"""`tricorn checkpoint` and `tricorn restore`: running containers to images, and back."""

from __future__ import annotations

import os
from typing import Any, Final

import click

from tricorn.cli import complete, progress, uploads
from tricorn.cli.container_options import OPTIONS
from tricorn.cli.desired import container as desired_container
from tricorn.cli.output import clean, emit_json, warn
from tricorn.cli.settings import Command, Settings, command
from tricorn.client.checkpoint_calls import checkpoint_container, import_checkpoint, restore_checkpoint

_CHECKPOINT: Final = """\
tricorn checkpoint web registry.example/team/web:live
tricorn checkpoint --leave-running --tcp-established web web:backup
tricorn checkpoint --no-image --no-rw job job:memory
tricorn checkpoint import podman.tar.zst web:live"""
_IMPORT: Final = """\
tricorn checkpoint import podman.tar.zst web:live
ssh node cat /var/lib/kubelet/checkpoints/web.tar | tricorn checkpoint import - web:live
tricorn checkpoint import --base registry.example/web:1 web.tar.gz"""
_RESTORE: Final = """\
tricorn restore registry.example/team/web:live web-2
tricorn restore --lazy web:live web-2
tricorn restore -v /srv/www:/www:ro -m 256m web:live web-2"""
_UNUSED: Final = frozenset({"name", "entrypoint", "pull", "plain_http", "quiet"})


@command("import", examples=_IMPORT)
@click.option("--base", default="", metavar="IMAGE", help="To restore on; else the one the archive names.")
@click.option("--image/--no-image", "whole", default=True, help="Take that image along (default: yes).")
@progress.progress_options
@click.argument("file", type=click.Path(allow_dash=True))
@click.argument("reference", metavar="[IMAGE]", required=False, default="")
def import_(settings: Settings, file: str, reference: str, how: str, base: str, *, whole: bool) -> None:
    """Make an image of a checkpoint archive of Podman's or CRI's; prints name and digest.

    `tricorn restore` takes it. Mounts that its container had are told: a restore must be given them.
    """
    with (
        uploads.opened(file) as source,
        progress.display(how) as report,
        progress.watching(settings, report) as operation,
    ):
        call = import_checkpoint(
            settings.namespace, image=reference, base=base, whole=whole, operation=operation,
            size=uploads.size_of(file) if operation else 0,
        )  # fmt: skip
        result = settings.door.upload(call, uploads.pieces(source))
    if settings.json:
        emit_json(result)
        return
    for warning in result["warnings"]:
        click.echo(f"warning: {clean(warning)}", err=True)
    if result["mounts"]:
        click.echo(f"it had mounts from outside: {clean(', '.join(result['mounts']))}", err=True)
    click.echo(f"{result['image']}@{result['digest']}")


class _Checkpoint(Command):
    """A command whose first word may be `import`. A container of that name comes after `--`."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of the command that is meant."""
        if args[:1] == ["import"]:
            return import_.make_context(f"{info_name} import", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@command("checkpoint", examples=_CHECKPOINT, cls=_Checkpoint)
@click.option("--leave-running", is_flag=True, help="Let the container go on; otherwise it is stopped.")
@click.option("--tcp-established", is_flag=True, help="Allow open TCP connections.")
@click.option(
    "--ext-unix", "external_unix_sockets", is_flag=True, help="Allow unix sockets to outside of it."
)
@click.option("--shell-job", is_flag=True, help="Allow a terminal from outside of it.")
@click.option("--file-locks/--no-file-locks", default=True, help="Take locks on files along (default: yes).")
@click.option(
    "--cgroups-mode", type=click.Choice(["soft", "full", "strict", "ignore"]), default=None,
    help="How CRIU treats control groups (default: soft).",
)  # fmt: skip
@click.option("--empty-ns", "empty_namespaces", multiple=True, metavar="KIND", help="Namespace left empty.")
@click.option("--rw/--no-rw", default=True, help="Take along what it changed in its files (default: yes).")
@click.option(
    "--image/--no-image", "base", default=True, help="Take along the image it was made of (default: yes)."
)
@click.option("--replace", is_flag=True, help="Take the name from an image that has it.")
@progress.progress_options
@click.argument("container", shell_complete=complete.containers)
@click.argument("reference", metavar="[IMAGE]", required=False, default="")
def checkpoint(settings: Settings, container: str, reference: str, how: str, **options: Any) -> None:
    """Make an image of a running container with its memory, and stop it; prints name and digest.

    The image holds whatever the processes knew: passwords, keys, tokens.
    """
    body = {"image": reference, **options, "cgroups_mode": options["cgroups_mode"] or ""}
    call = checkpoint_container(settings.namespace, container, body, stream=True)
    with progress.display(how) as report:
        result = settings.door.work(call, report)
    if settings.json:
        emit_json(result)
    else:
        click.echo(f"{result['image']}@{result['digest']}")


def _request_options(function: Any) -> Any:
    """Declare those options of a new container that mean something where its processes come from a dump."""
    for option in reversed(OPTIONS):
        probe = option(lambda: None)
        if vars(probe)["__click_params__"][0].name not in _UNUSED:
            function = option(function)
    return function


@command("restore", examples=_RESTORE)
@click.option("--no-rw", is_flag=True, help="Leave out what the container had changed in its files.")
@click.option("--tcp-established", is_flag=True, help="Take up open TCP connections again.")
@click.option(
    "--ext-unix", "external_unix_sockets", is_flag=True, help="Allow unix sockets to outside of it."
)
@click.option("--shell-job", is_flag=True, help="Allow a terminal from outside of it.")
@click.option("--file-locks", is_flag=True, help="Take up locks on files again.")
@click.option("--lazy", is_flag=True, help="Let it go on before it has its memory, which comes as needed.")
@_request_options
@progress.progress_options
@click.argument("reference", metavar="IMAGE", shell_complete=complete.images)
@click.argument("name")
def restore(settings: Settings, reference: str, name: str, how: str, **options: Any) -> None:
    """Make the container NAME of a checkpoint; its processes go on where it was taken.

    The checkpoint gives memory and files only. Mounts, limits, labels and privileges are those of this
    command line, and a dump of processes that had more is refused.
    """
    unused = dict.fromkeys(_UNUSED)
    body = {
        "image": reference,
        "id": name,
        "rw": not options.pop("no_rw"),
        **{
            field: options.pop(field)
            for field in ("tcp_established", "external_unix_sockets", "shell_job", "file_locks", "lazy")
        },
        "container": desired_container("", (), {**unused, **options}, os.environ),
    }
    call = restore_checkpoint(settings.namespace, body, stream=True)
    with progress.display(how) as report:
        made = settings.door.work(call, report)
    if settings.json:
        emit_json(made)
    else:
        warn(made)
        click.echo(made["id"])
