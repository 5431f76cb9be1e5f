"""Temporary directories whose names are short enough for the sockets below them (108 bytes), and what is there."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from glob import glob
from pathlib import Path

PREFIX = "/tmp/tct-"
_MNT_DETACH = 2


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """Yield /tmp/tct-XXXX, this process's own; at the end whatever is mounted below it goes first.

    The name's last part is fit to be a hostname (RFC 1123), unlike those that `tempfile` makes up.
    """
    path = Path(f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}")
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        remove_tree(path)


def found(base: Path, pattern: str) -> list[Path]:
    """Return what is below `base` by names that match; some of it may just be going, at which `Path.glob` fails."""
    return [base / name for name in sorted(glob(pattern, root_dir=base, include_hidden=True))]


def mounts_below(path: Path) -> list[str]:
    """Return the mount points below `path`, deepest and latest first."""
    prefix = f"{path}/"
    with open("/proc/self/mountinfo") as mountinfo:
        points = [line.split()[4].replace("\\040", " ") for line in mountinfo]
    return [point for point in reversed(points) if point.startswith(prefix)]


def unmount(point: str) -> None:
    """Detach a mount point; what isn't mounted (any more) is no error."""
    ctypes.CDLL(None).umount2(os.fsencode(point), _MNT_DETACH)


def remove_tree(path: Path) -> None:
    """Unmount what is below `path`, then remove it; raise OSError if it can't be emptied."""
    for point in mounts_below(path):
        unmount(point)
    for attempt in range(5):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            if not path.exists():
                return
        except OSError:
            if attempt == 4:
                raise
            time.sleep(0.1)
        else:
            return
