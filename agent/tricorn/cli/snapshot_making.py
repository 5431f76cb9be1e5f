"""`tricorn snapshot prepare`, `view`, `commit`, `label`: whatever is repeated changes nothing."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import click

from tricorn.cli import complete
from tricorn.cli.door import calls
from tricorn.cli.figures import pairs
from tricorn.cli.output import emit_json
from tricorn.cli.settings import Settings, command

_snapshotter = click.option("--snapshotter", default="overlayfs", show_default=True, metavar="NAME")
_labels = click.option("-l", "--label", "given", multiple=True, metavar="KEY=VALUE")
_keep = click.option("--keep", is_flag=True, help="Until it is removed, even if nothing refers to it.")
_target = click.option("--target", metavar="DIR", help="Print the commands that mount it there.")
_ROOT = "containerd.io/gc.root"


def _put(settings: Settings, snapshotter: str, key: str, wanted: dict[str, Any]) -> dict[str, Any]:
    done = settings.door.call(calls.put_snapshot(settings.namespace, snapshotter, key, wanted))
    if settings.json:
        emit_json(done)
    found: dict[str, Any] = done["after"]
    return found


def _wanted(given: tuple[str, ...], *, keep: bool) -> dict[str, Any]:
    return {"labels": {**pairs(given, "--label"), **({_ROOT: "true"} if keep else {})}}


def _make(settings: Settings, snapshotter: str, key: str, wanted: dict[str, Any], target: str | None) -> None:
    found = _put(settings, snapshotter, key, wanted)
    if target and not settings.json:
        for mount in found["mounts"]:
            options = ",".join(mount["options"])
            words = [
                "mount",
                "-t",
                mount["type"],
                mount["source"],
                target,
                *(["-o", options] if options else []),
            ]
            click.echo(shlex.join(words))


def _making(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command what all have that make a snapshot to be mounted."""
    parent = click.argument("parent", default="", shell_complete=complete.snapshots)
    return _snapshotter(_labels(_keep(_target(click.argument("key")(parent(function))))))


_PREPARE = """\
tricorn snapshot prepare --keep scratch
tricorn snapshot prepare --target /mnt work sha256:… | sh"""


@command("prepare", examples=_PREPARE)
@_making
def prepare(
    settings: Settings, key: str, parent: str, snapshotter: str, given: tuple[str, ...], keep: bool,
    target: str | None,
) -> None:  # fmt: skip
    """Make a snapshot that can be written to, on PARENT or on nothing."""
    _make(settings, snapshotter, key, {"parent": parent, **_wanted(given, keep=keep)}, target)


@command("view", examples="tricorn snapshot view --target /mnt look sha256:…")
@_making
def view(
    settings: Settings, key: str, parent: str, snapshotter: str, given: tuple[str, ...], keep: bool,
    target: str | None,
) -> None:  # fmt: skip
    """Make a snapshot of PARENT that can only be read."""
    wanted = {"state": "view", "parent": parent, **_wanted(given, keep=keep)}
    _make(settings, snapshotter, key, wanted, target)


@command("commit", examples="tricorn snapshot commit --keep base work")
@_snapshotter
@_labels
@_keep
@click.argument("key")
@click.argument("source", shell_complete=complete.snapshots)
def commit(
    settings: Settings, key: str, source: str, snapshotter: str, given: tuple[str, ...], keep: bool
) -> None:
    """Make of SOURCE, which could be written to, the snapshot KEY that others can stand on."""
    _put(settings, snapshotter, key, {"state": "committed", "source": source, **_wanted(given, keep=keep)})


@command("label", examples="tricorn snapshot label work team=web\ntricorn snapshot label work team=")
@_snapshotter
@click.argument("key", shell_complete=complete.snapshots)
@click.argument("given", nargs=-1, required=True, metavar="KEY=VALUE...")
def label(settings: Settings, key: str, given: tuple[str, ...], snapshotter: str) -> None:
    """Give a snapshot labels; those that aren't named stay, an empty value takes one away."""
    found = settings.door.call(calls.snapshot(settings.namespace, snapshotter, key))
    _put(settings, snapshotter, key, {"state": found["kind"], "labels": pairs(given, "LABEL")})
