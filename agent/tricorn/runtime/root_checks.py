"""What a runtime meets on its way to a root file system, and must not be led to by it."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any, Final

from tricorn.errors import FailedPrecondition

# Made by every runtime below /dev: as root of the node, before the container is confined.
_DEVICES: Final = ("console", "full", "null", "random", "tty", "urandom", "zero")


def require_plain_root(bundle: str, config: Mapping[str, Any]) -> None:
    """Refuse a root file system whose /dev, or what a runtime makes or mounts at once, is a symbolic link.

    Runtimes before runc 1.3.6, 1.4.3 and 1.5 follow /dev out of the container and write to the node's files
    (CVE-2026-41579); crun does so with devices (CVE-2026-88264, -88265), older ones with /proc and /sys
    (CVE-2019-19921). Raises FailedPrecondition, naming the link. `config` is the bundle's.
    """
    root = os.path.join(bundle, str((config.get("root") or {}).get("path") or "rootfs"))
    mounted = {os.path.normpath(str(mount.get("destination"))) for mount in config.get("mounts") or ()}
    suspects = ["dev", *(name for name in ("proc", "sys") if f"/{name}" in mounted)]
    if "/dev" not in mounted:
        suspects += [f"dev/{name}" for name in _DEVICES]
    for suspect in suspects:
        path = os.path.join(root, suspect)
        if os.path.islink(path):
            raise FailedPrecondition(
                "the root file system can't be used",
                why=f"/{suspect} in it is a symbolic link, by which a runtime is led to files of the node",
                hint="take an image in which it is a directory or isn't there",
            )


def barred_way(bundle: str) -> str:
    """Return the remedy if a directory on the way to the bundle of one with a user namespace lets only
    the root of the node pass; "" otherwise. runc goes there as the root of the container.
    """
    try:
        with open(os.path.join(bundle, "config.json"), "rb") as file:
            if b'"uidMappings"' not in file.read():
                return ""
        way = os.path.dirname(bundle)
        while way != "/":
            found = os.stat(way)
            if found.st_uid == 0 and not stat.S_IMODE(found.st_mode) & 0o011:
                return f"let the root of its user namespace pass {way} (chmod o+x), or take crun"
            way = os.path.dirname(way)
    except OSError:
        return ""
    return ""
