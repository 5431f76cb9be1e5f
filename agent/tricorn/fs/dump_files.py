"""Dumps of containers on disk: packed into an archive, looked at once they were unpacked. All calls block.

A dump is flat: one directory of regular files. They hold what processes had in memory, so only root may
read them, whatever the umask was when CRIU wrote them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted
from tricorn.fs.tarheader import REGULAR
from tricorn.fs.tarwriter import Sink, TarWriter

_MODE = 0o600


def make_directory(path: str) -> None:
    """Make an empty directory that only root may enter; its parents, too, which others may make or remove
    (they are empty) at the same time. FileExistsError if it is there.
    """
    while True:
        try:
            os.mkdir(path, 0o700)
        except FileNotFoundError:
            with suppress(FileExistsError):
                make_directory(os.path.dirname(path))
        else:
            return


def _entries(directory: str) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def close_up(directory: str) -> int:
    """Take everybody else's rights to the files of a dump; return their size in bytes together."""
    size = 0
    for entry in _entries(directory):
        os.chmod(entry.path, _MODE)
        size += entry.stat(follow_symlinks=False).st_size
    return size


def pack(directory: str, sink: Sink) -> None:
    """Hand the archive of a dump to `sink`, in large pieces. The same files make the same bytes."""
    writer = TarWriter(sink)
    for name in sorted(os.listdir(directory)):
        fd = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            writer.add(os.fsencode(name), REGULAR, mode=_MODE, size=size)
            writer.copy(fd, size)
        finally:
            os.close(fd)
    writer.finish()


def check_files(directory: str) -> list[str]:
    """Return the names of an unpacked dump's files, which only root may read from now on.

    InvalidArgument for anything but regular files of their own: CRIU would follow a link out of the directory
    and give a process the bytes of a file of the host (CVE-2026-53489).
    """
    names = []
    os.chmod(directory, 0o700)
    for entry in _entries(directory):
        found = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            why = f"{entry.name[:80]!r} is no regular file"
            hint = "dumps that stand on an earlier one can't be restored" if entry.name == "parent" else ""
            raise InvalidArgument("the dump holds more than files", why=why, hint=hint)
        os.chmod(entry.path, _MODE)
        names.append(entry.name)
        if len(names) > limits.DUMP_FILES:
            raise ResourceExhausted("the dump has too many files", why=f"over {limits.DUMP_FILES}")
    return names


def read_images(directory: str, names: list[str], wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Return the small images that `wanted` chooses. ResourceExhausted if they are none."""
    images = {}
    left = limits.DUMP_IMAGE_READ
    for name in filter(wanted, names):
        with open(os.path.join(directory, name), "rb") as file:
            images[name] = file.read(left + 1)
        left -= len(images[name])
        if left < 0:
            raise ResourceExhausted(
                "the dump's images of processes are too large", why=f"over {limits.DUMP_IMAGE_READ} bytes"
            )
    return images
