"""Dumps of containers on disk: packed into an archive, looked at once they were unpacked. All calls block.

A dump is flat: one directory of regular files. They hold what processes had in memory, so only root may
read them, whatever the umask was when CRIU wrote them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted
from tricorn.fs.failures import typed
from tricorn.fs.tarheader import CONTIGUOUS, DIRECTORY, REGULAR, Entry, show
from tricorn.fs.tarstream import TarStream
from tricorn.fs.tarwriter import Sink, TarWriter

_MODE = 0o600
_READ = limits.MIB


def _entries(directory: str) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def close_up(directory: str) -> int:
    """Take everybody else's rights to the files of a dump; return their size in bytes together. CRIU's own
    link to the dump that this one stands on is none.
    """
    size = 0
    for entry in _entries(directory):
        if entry.is_symlink():
            continue
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


def unpack(archive: str, directory: str) -> None:
    """Lay out the dump in an archive (plain tar) in an empty directory, which only root may enter.

    Four times as quick as an extraction of a layer: a dump has no owners, links or deletions. InvalidArgument
    for an archive that is malformed or has more than files in it, ResourceExhausted for too many or a full
    disk.
    """
    try:
        with open(archive, "rb", buffering=0) as file:
            stream = TarStream(iter(partial(file.read, _READ), b""))
            for entry in stream:
                if stream.entries > limits.DUMP_FILES:
                    raise ResourceExhausted("the dump has too many files", why=f"over {limits.DUMP_FILES}")
                _lay_out(stream, entry, directory)
    except OSError as error:
        raise typed(error, "cannot unpack the dump") from error


def _lay_out(stream: TarStream, entry: Entry, directory: str) -> None:
    name = entry.name.removeprefix(b"./").rstrip(b"/")
    if entry.type == DIRECTORY and name in {b"", b"."}:
        return
    if entry.type not in {REGULAR, CONTIGUOUS} or b"/" in name or b"\0" in name or name in {b"", b".", b".."}:
        hint = "dumps that stand on an earlier one can't be restored" if name == b"parent" else ""
        why = f"{show(entry.name)} is no regular file"
        raise InvalidArgument("the dump holds more than files", why=why, hint=hint)
    path = os.path.join(os.fsencode(directory), name)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    except FileExistsError:
        raise InvalidArgument("the dump is malformed", why=f"{show(entry.name)} is twice in it") from None
    try:
        stream.copy(fd, entry.size)
    finally:
        os.close(fd)


def check_files(directory: str, beside: frozenset[str] = frozenset()) -> list[str]:
    """Return the names of an unpacked dump's files, which only root may read from now on, but for the names
    `beside`, which the caller looks at.

    InvalidArgument for anything but regular files of their own: CRIU would follow a link out of the
    directory and give a process the bytes of a file of the host (CVE-2026-53489).
    """
    names = []
    os.chmod(directory, 0o700)
    for entry in _entries(directory):
        if entry.name in beside:
            continue
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


def let_in(directory: str, group: int) -> None:
    """Let the group of a user namespace's root read a dump that was looked at, too: CRIU opens some of it
    before that root has its ids, as the node's, and some after. Blocks.
    """
    for place, _, names, handle in os.fwalk(directory):
        for name in names:
            if not stat.S_ISLNK(os.lstat(name, dir_fd=handle).st_mode):
                os.chown(name, 0, group, dir_fd=handle, follow_symlinks=False)
                os.chmod(name, _MODE | stat.S_IRGRP, dir_fd=handle)
        os.chown(place, 0, group, follow_symlinks=False)
        # the group has to pass, and CRIU opens what a dump stands on for reading, too
        os.chmod(place, 0o710 if place == directory else 0o750)


def replace_image(directory: str, name: str, data: bytes) -> None:
    """Put other bytes into a file of an unpacked dump, which nobody uses yet."""
    with open(os.path.join(directory, name), "wb") as file:
        file.write(data)


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
