"""`tricorn image push`, `tag`, `export` and `import`."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import IO, Any, Final

import click

from tricorn.cli import complete, progress, uploads
from tricorn.cli.operation import begun
from tricorn.cli.output import each, emit_json
from tricorn.cli.registry_login import login_of, login_options
from tricorn.cli.settings import Settings, command
from tricorn.client import image_calls as calls
from tricorn.errors import InvalidArgument, ResourceExhausted

_CHUNK: Final = 1 << 20

_PUSH: Final = """\
tricorn image push registry.example/team/app:1
tricorn image push app:1 registry.example/team/app:1
tricorn image push --platform linux/amd64 --plain-http 127.0.0.1:5000/app:1
echo $TOKEN | tricorn image push -u me --password-stdin app:1 registry.example/team/app:1"""


@command("push", examples=_PUSH)
@click.option("--platform", metavar="OS/ARCH", help="Only this platform's image, without the others' index.")
@click.option("--plain-http", is_flag=True, help="Push without TLS.")
@click.option("--with-referrers", is_flag=True, help="Push also what refers to it and is here.")
@login_options
@progress.progress_options
@click.option("-d", "--detach", is_flag=True, help="Print the operation's id, and don't wait for it.")
@click.argument("image", shell_complete=complete.images)
@click.argument("reference", required=False)
def push(settings: Settings, image: str, reference: str | None, how: str, **options: Any) -> None:
    """Push an image under its own name, or as REFERENCE; prints what is there now."""
    wanted = {"reference": reference, "platform": options["platform"], "plain_http": options["plain_http"]}
    wanted["referrers"] = options["with_referrers"]
    body: dict[str, Any] = {key: value for key, value in wanted.items() if value}
    if auth := login_of(options):
        body["auth"] = auth
    if options["detach"]:
        begun(settings, calls.push_image(settings.namespace, image, body, detach=True))
        return
    with progress.display(how) as report:
        result = settings.door.work(calls.push_image(settings.namespace, image, body, stream=True), report)
    if settings.json:
        emit_json(result)
    else:
        click.echo(pinned(result["reference"], result["digest"]))


def pinned(name: str, digest: str) -> str:
    """Return a reference to exactly this; a name may have its digest already."""
    return name if "@" in name else f"{name}@{digest}"


@command("tag", examples="tricorn image tag redis:7 registry.example/team/cache:1")
@click.argument("image", shell_complete=complete.images)
@click.argument("references", nargs=-1, required=True, metavar="NAME...")
def tag(settings: Settings, image: str, references: tuple[str, ...]) -> int:
    """Give an image more names; a name that stands for another image is moved."""
    return each(
        settings,
        references,
        lambda name: settings.door.call(calls.tag_image(settings.namespace, image, name)),
    )


_EXPORT: Final = """\
tricorn image export -o redis.tar redis:7
tricorn image export redis:7 alpine | ssh other tricorn image import
tricorn image export --all-platforms -o all.tar registry.example/app"""


@command("export", examples=_EXPORT)
@click.option("-o", "--output", metavar="FILE", default="-", help="Write there instead of to stdout.")
@click.option("--platform", metavar="OS/ARCH", help="The node's own otherwise.")
@click.option("--all-platforms", is_flag=True, help="What the images have for all platforms.")
@progress.progress_options
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...", shell_complete=complete.images)
def export(
    settings: Settings,
    images: tuple[str, ...],
    output: str,
    platform: str | None,
    all_platforms: bool,
    how: str,
) -> None:
    """Write images into a tar archive (an OCI layout, which Docker can load, too)."""
    if platform and all_platforms:
        raise click.UsageError("--platform and --all-platforms exclude each other")
    if output == "-" and sys.stdout.isatty():
        raise click.UsageError("an archive is nothing for a terminal: give --output FILE, or a pipe")
    with progress.display(how) as report, progress.watching(settings, report) as operation:
        call = calls.export_images(
            settings.namespace,
            images,
            platform=platform or "",
            all_platforms=all_platforms,
            operation=operation,
        )
        count = write_parts(settings.door.chunks(call), output)
    if settings.json and output != "-":
        emit_json({"file": output, "bytes": count})


def write_parts(parts: Iterator[bytes], output: str) -> int:
    """Write an answer to a file ("-": stdout); return how many bytes. An error comes before the file is
    touched.
    """
    first = next(parts, b"")
    count = 0
    with _written(output) as file:
        for part in _chain(first, parts):
            file.write(part)
            count += len(part)
    return count


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


@contextlib.contextmanager
def _written(path: str) -> Iterator[IO[bytes]]:
    """Give the file to write; a regular one appears under its name only when it is whole."""
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.exists(path) and not os.path.isfile(path):
        with _naming(path), open(path, "wb") as file:
            yield file
        return
    partial = f"{path}.partial"
    try:
        with _naming(path):
            with open(partial, "wb") as file:
                yield file
            os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Give errors of a file its name; those of the agent's door are typed already."""
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        kind = ResourceExhausted if full else InvalidArgument
        raise kind(f"{path} can't be written", why=error.strerror or "") from None


@contextlib.contextmanager
def _archive(path: str) -> Iterator[tuple[Iterator[bytes], int]]:
    """Give the bytes of an archive and how many they are, 0 where that isn't known."""
    if os.path.isdir(path):
        from tricorn.cli.layout_directory import LayoutDirectory

        layout = LayoutDirectory(path)
        yield layout.pieces(), layout.size
        return
    with uploads.opened(path) as file:
        yield uploads.pieces(file), uploads.size_of(path)


_IMPORT: Final = """\
tricorn image import redis.tar
docker save app:1 | tricorn image import
tricorn image import --base-name registry.example/app layout.tar.gz
tricorn image import --base-name registry.example/app ./layout"""


@command("import", examples=_IMPORT)
@click.option("--base-name", metavar="NAME", help="Take images of this name only; tags become NAME:TAG.")
@click.option("--platform", metavar="OS/ARCH", help="The node's own otherwise.")
@click.option("--all-platforms", is_flag=True, help="What the archive has for all platforms.")
@click.option("--no-unpack", is_flag=True, help="Only store.")
@click.option("--compress", is_flag=True, help="Compress layers that come as plain tar.")
@progress.progress_options
@click.argument("file", default="-", type=click.Path(allow_dash=True))
def import_(settings: Settings, file: str, how: str, **options: Any) -> None:
    """Read images from an archive (OCI layout or `docker save`) or a layout's directory; prints their names
    and digests.
    """
    if options["platform"] and options["all_platforms"]:
        raise click.UsageError("--platform and --all-platforms exclude each other")
    if file == "-" and sys.stdin.isatty():
        raise click.UsageError("give the archive's file, or pipe it in")
    with (
        _archive(file) as (pieces, size),
        progress.display(how) as report,
        progress.watching(settings, report) as operation,
    ):
        call = calls.import_images(
            settings.namespace,
            base_name=options["base_name"] or "",
            platform=options["platform"] or "",
            all_platforms=options["all_platforms"],
            unpack=not options["no_unpack"],
            compress=options["compress"],
            operation=operation,
            size=size if operation else 0,
        )
        result = settings.door.upload(call, pieces)
    if settings.json:
        emit_json(result)
        return
    for image in result["images"]:
        click.echo(pinned(image["name"], image["digest"]))
