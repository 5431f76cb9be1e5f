"""What a root file system must not do to the runtime that makes a container of it."""

from __future__ import annotations

import os
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
