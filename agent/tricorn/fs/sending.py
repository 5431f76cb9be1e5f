"""Writes a file or a directory with all in it as an archive.

Runs in a child whose root is the tree; imports no third-party module.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from tricorn.errors import NotFound
from tricorn.fs import trees
from tricorn.fs.beneath import open_in_root
from tricorn.fs.diff_entries import open_regular
from tricorn.fs.failures import typed
from tricorn.fs.path_facts import kind_of
from tricorn.fs.tarheader import DIRECTORY, FIFO, HARDLINK, REGULAR, SYMLINK, show
from tricorn.fs.tarwriter import TarWriter

_WARNINGS: Final = 100


def handle_of(root: int, path: bytes, *, follow: bool) -> int:
    """Return a descriptor that stands for `path` and gives no access to it. NotFound."""
    try:
        return open_in_root(root, path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"there is no /{show(path)}") from None
    except OSError as error:
        raise typed(error, f"cannot find /{show(path)}") from error


class Sender:
    """Names in the archive begin with `top`. What can't be sent is told in `warnings`."""

    def __init__(self, root: int, writer: TarWriter, top: bytes) -> None:
        self._root = root
        self._writer = writer
        self._names = [top]
        self._depth = 0
        self._linked: dict[tuple[int, int], bytes] = {}
        self.warnings: list[str] = []

    def run(self, path: bytes, *, follow: bool) -> None:
        """Send `path`; a symlink as itself unless `follow`."""
        handle = handle_of(self._root, path, follow=follow)
        try:
            status = os.fstat(handle)
            if stat.S_ISDIR(status.st_mode):
                directory = open_in_root(self._root, path, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    trees.walk(directory, ".", self._visit, self._leave)
                finally:
                    os.close(directory)
            elif stat.S_ISLNK(status.st_mode):
                self._symlink(self._names[0], status, os.readlink(b"", dir_fd=handle))
            else:
                self._single(path, status, follow=follow)
        finally:
            os.close(handle)

    def _single(self, path: bytes, status: os.stat_result, *, follow: bool) -> None:
        if not stat.S_ISREG(status.st_mode):
            self._plain(self._names[0], status)
            return
        flags = os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
        self._content(self._names[0], open_in_root(self._root, path, flags))

    def _visit(self, directory: int, name: str, entries: list[os.DirEntry[str]]) -> None:
        if self._depth:
            self._names.append(os.fsencode(name))
        self._depth += 1
        status = os.fstat(directory)
        self._add(b"/".join(self._names), DIRECTORY, status)
        for below, found in trees.statuses(directory, entries):
            path = b"/".join((*self._names, os.fsencode(below)))
            if stat.S_ISREG(found.st_mode):
                fd = open_regular(directory, below)
                if fd is not None:
                    self._content(path, fd)
            elif stat.S_ISLNK(found.st_mode):
                self._symlink(path, found, os.readlink(os.fsencode(below), dir_fd=directory))
            elif not stat.S_ISDIR(found.st_mode):
                self._plain(path, found)

    def _leave(self, _: int) -> None:
        self._depth -= 1
        if self._depth:
            self._names.pop()

    def _content(self, path: bytes, fd: int) -> None:
        try:
            status = os.fstat(fd)
            identity = (status.st_dev, status.st_ino)
            first = self._linked.setdefault(identity, path) if status.st_nlink > 1 else path
            if first != path:
                self._add(path, HARDLINK, status, link=first)
                return
            self._add(path, REGULAR, status, size=status.st_size)
            if not self._writer.copy(fd, status.st_size):
                self._warn(f"/{show(path)} got shorter while it was read")
        finally:
            os.close(fd)

    def _symlink(self, path: bytes, status: os.stat_result, link: bytes) -> None:
        self._add(path, SYMLINK, status, link=link)

    def _plain(self, path: bytes, status: os.stat_result) -> None:
        if stat.S_ISFIFO(status.st_mode):
            self._add(path, FIFO, status)
        else:
            self._warn(f"{show(path)} is left out: it is a {kind_of(status.st_mode)}")

    def _add(
        self, path: bytes, kind: bytes, status: os.stat_result, *, size: int = 0, link: bytes = b""
    ) -> None:
        self._writer.add(
            path, kind, mode=stat.S_IMODE(status.st_mode), uid=status.st_uid, gid=status.st_gid, size=size,
            mtime=int(status.st_mtime), link=link,
        )  # fmt: skip

    def _warn(self, text: str) -> None:
        if len(self.warnings) < _WARNINGS:
            self.warnings.append(text)
