"""What changed in the upper directory of a container since it was last looked at: the rest of a layer, most
of which was sent before. All calls block; the directory is untrusted and may be live.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator, Mapping

from attrs import frozen

from tricorn.fs.whiteouts import OPAQUE, PREFIX

_OPAQUE, _PREFIX = OPAQUE.decode(), PREFIX.decode()


@frozen
class Seen:
    """A file as it was: any change of its content or metadata gives it another `changed` (nanoseconds)."""

    inode: int
    changed: int
    size: int
    directory: bool


Index = Mapping[str, Seen]  # by the path below the directory


def index(upper: str) -> Index:
    """Look at all files. What comes or goes meanwhile may be in it or not."""
    found: dict[str, Seen] = {}
    for path, _, files, fd in os.fwalk(upper, follow_symlinks=False):
        place = os.path.relpath(path, upper)
        status = os.fstat(fd)
        found["" if place == "." else place] = _seen(status)
        for name in files:
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            found[name if place == "." else f"{place}/{name}"] = _seen(status)
    return found


def _seen(status: os.stat_result) -> Seen:
    return Seen(status.st_ino, status.st_ctime_ns, status.st_size, stat.S_ISDIR(status.st_mode))


def changes(layer: str, rest: str, before: Index, after: Index) -> int:
    """Write into the new file `rest` what of the plain `layer`, made while `after` held, isn't as it was at
    `before`, and whiteouts for what has gone; return its size. OSError, tarfile.TarError.
    """
    with (
        open(rest, "xb", opener=_private) as sink,
        tarfile.open(layer, "r:") as whole,
        tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as some,
    ):
        for gone in _gone(before, after):
            parent, _, name = gone.rpartition("/")
            some.addfile(tarfile.TarInfo(f"{parent}/{_PREFIX}{name}" if parent else f"{_PREFIX}{name}"))
        for entry in whole:
            if _differs(entry.name.strip("/").removeprefix("./"), before, after):
                some.addfile(entry, whole.extractfile(entry) if entry.isreg() else None)
    return os.path.getsize(rest)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _gone(before: Index, after: Index) -> Iterator[str]:
    """Yield the topmost paths that aren't there any more."""
    for path in sorted(before.keys() - after.keys()):
        parent = path.rpartition("/")[0]
        if parent in after and after[parent].directory:
            yield path


def _differs(name: str, before: Index, after: Index) -> bool:
    parent, _, base = name.rpartition("/")
    if base == _OPAQUE:  # a directory that was opaque before must not lose what is in it already
        was, now = before.get(parent), after.get(parent)
        return was is None or now is None or was.inode != now.inode
    path = f"{parent}/{base.removeprefix(_PREFIX)}".lstrip("/")
    if path in ("", "."):
        return True
    return path not in before or before[path] != after.get(path)
