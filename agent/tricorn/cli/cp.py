"""`tricorn cp`: files into containers, out of them, and from one into another."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, Final

import click
from attrs import frozen

from tricorn.cli import complete
from tricorn.cli.output import emit_json
from tricorn.cli.settings import Settings, command
from tricorn.client import copy_calls
from tricorn.errors import InvalidArgument, NotFound

_CHUNK: Final = 1 << 18
_EXAMPLES: Final = """\
tricorn cp nginx.conf web:/etc/nginx/
tricorn cp web:/var/log/nginx ./logs
tricorn cp --plan site web:/srv/www
tricorn cp web:/srv/www backup:/srv/
tar -c site | tricorn cp - web:/srv
tricorn cp web:/srv - | tar -t"""


@frozen
class _Place:
    """A path here (container "") or in a container."""

    container: str
    path: str

    @classmethod
    def parse(cls, text: str) -> _Place:
        container, colon, path = text.partition(":")
        if not colon or "/" in container or not container:
            return cls("", text)
        if not path.startswith("/"):
            raise click.UsageError(f"{text}: a path in a container is absolute")
        return cls(container, path)

    @property
    def name(self) -> str:
        return os.path.basename(self.path.rstrip("/"))


@command("cp", examples=_EXAMPLES)
@click.option(
    "-a", "--archive", is_flag=True, help="Keep the owners; they are root's in containers otherwise."
)
@click.option("-L", "--follow", is_flag=True, help="What a link as SOURCE points to, not the link.")
@click.option("--parents", is_flag=True, help="Make missing directories on the way to DEST, in containers.")
@click.option("--plan", is_flag=True, help="Tell what would change in the container, and do nothing.")
@click.argument("source", metavar="SOURCE", shell_complete=complete.containers)
@click.argument("dest", metavar="DEST", shell_complete=complete.containers)
def cp(settings: Settings, source: str, dest: str, **options: Any) -> None:
    """Copy a file or directory; one of the two, or both, is CONTAINER:/PATH. `-` is a tar on stdin or stdout.

    Into a directory that is there SOURCE goes under its own name, else DEST is its new name. Containers need
    not run; what is mounted in them is seen only while they do.
    """
    from_, to = _Place.parse(source), _Place.parse(dest)
    if to.container:
        change = _into(settings, from_, to, options)
        _tell(settings, change)
    elif from_.container:
        if options["plan"]:
            raise click.UsageError("--plan is for copies into containers")
        _out_of(settings, from_, to, options)
    else:
        raise click.UsageError("neither path is in a container: write CONTAINER:/PATH")


def _tell(settings: Settings, change: Any) -> None:
    if settings.json:
        emit_json(change)
        return
    for action in change["actions"]:
        click.echo(f"{action['verb']} {action['object'].removeprefix('file/')}")


def _into(settings: Settings, source: _Place, dest: _Place, options: dict[str, Any]) -> Any:
    if source.path == "-" and not source.container:
        if sys.stdin.isatty():
            raise click.UsageError("a tar is to come on stdin")
        directory, pieces = dest.path, iter(lambda: sys.stdin.buffer.read(_CHUNK), b"")
    else:
        directory, name = _destination(settings, dest, source.name)
        pieces = _pieces(settings, source, name, options)
    owner = None if options["archive"] or source.path == "-" else 0
    call = copy_calls.put_archive(
        settings.namespace, dest.container, directory, uid=owner, gid=owner, parents=options["parents"],
        plan=options["plan"],
    )  # fmt: skip
    return settings.door.upload(call, pieces)


def _destination(settings: Settings, dest: _Place, name: str) -> tuple[str, str]:
    """Return the directory and the name in it that the copy gets."""
    try:
        look = copy_calls.look_at_file(settings.namespace, dest.container, dest.path, follow=True)
        if settings.door.call(look)["type"] == "directory":
            return dest.path, name
    except NotFound as error:
        if "container" in error.what:
            raise
        if dest.path.endswith("/"):
            return dest.path, name
    return os.path.dirname(dest.path.rstrip("/")) or "/", dest.name


def _pieces(settings: Settings, source: _Place, name: str, options: dict[str, Any]) -> Iterator[bytes]:
    from tricorn.cli import local_tar

    if not source.container:
        path = os.path.realpath(source.path) if options["follow"] else source.path.rstrip("/") or "/"
        return local_tar.tar_of(path, name, keep_owner=options["archive"])
    if source.name != name:
        raise InvalidArgument(
            "from one container into another a copy keeps its name", hint="give a directory that is there"
        )
    return settings.door.chunks(_archive(settings, source, options))


def _archive(settings: Settings, source: _Place, options: dict[str, Any]) -> Any:
    return copy_calls.get_archive(settings.namespace, source.container, source.path, follow=options["follow"])


def _out_of(settings: Settings, source: _Place, dest: _Place, options: dict[str, Any]) -> None:
    pieces = settings.door.chunks(_archive(settings, source, options))
    if dest.path == "-":
        if sys.stdout.isatty():
            raise click.UsageError("a tar is nothing for a terminal: give a path, or a pipe")
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    from tricorn.cli import local_tar

    into = os.path.isdir(dest.path)
    directory = dest.path if into else os.path.dirname(dest.path.rstrip("/")) or "."
    name = source.name or "root" if into else dest.name
    count = local_tar.extract(pieces, directory, name, keep_owner=options["archive"])
    if settings.json:
        emit_json({"path": os.path.join(directory, name), "entries": count})
