"""Walks and removals of untrusted directory trees of any depth, by descriptor.

A container may nest directories deeper than a path can name or a process can hold open, so each walk
holds one descriptor and climbs by `..`, checking that it arrives where it came from.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from tricorn.errors import Aborted

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK: Final = 512  # the unit of st_blocks

Visit = Callable[[int, str, list[os.DirEntry[str]]], None]


class _Level:
    __slots__ = ("identity", "name", "pending")

    def __init__(self, name: str, fd: int, pending: list[str]) -> None:
        status = os.fstat(fd)
        self.name = name
        self.identity = (status.st_dev, status.st_ino)
        self.pending = pending


class _Cursor:
    """One open directory that moves down and up a tree."""

    def __init__(self, parent: int, name: str) -> None:
        self.fd = os.open(name, _OPEN, dir_fd=parent)
        self.levels: list[_Level] = []
        self._name = name

    def enter(self, pending: list[str]) -> None:
        """Note the subdirectories still to be visited in the current directory."""
        self.levels.append(_Level(self._name, self.fd, pending))

    def down(self, name: str) -> None:
        fd = os.open(name, _OPEN, dir_fd=self.fd)
        os.close(self.fd)
        self.fd, self._name = fd, name

    def up(self) -> str:
        """Leave the current directory for its parent; return the name it was entered by."""
        name = self.levels.pop().name
        if self.levels:
            fd = os.open("..", _OPEN, dir_fd=self.fd)
            status = os.fstat(fd)
            os.close(self.fd)
            self.fd = fd
            if (status.st_dev, status.st_ino) != self.levels[-1].identity:
                raise Aborted("a directory moved while its tree was read")
        return name

    def close(self) -> None:
        os.close(self.fd)


def remove_tree(parent: int, name: str) -> None:
    """Remove the file or directory `name` of the directory `parent`; missing is no error.

    Raises OSError. Nothing else may change the tree meanwhile.
    """
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
        _remove_directory(parent, name)


def _remove_directory(parent: int, name: str) -> None:
    try:
        cursor = _Cursor(parent, name)
    except NotADirectoryError:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), name) from None
    try:
        cursor.enter(_unlink_files(cursor.fd))
        while cursor.levels:
            pending = cursor.levels[-1].pending
            if pending:
                cursor.down(pending.pop())
                cursor.enter(_unlink_files(cursor.fd))
                continue
            done = cursor.up()
            os.rmdir(done, dir_fd=cursor.fd if cursor.levels else parent)
    finally:
        cursor.close()


def _unlink_files(fd: int) -> list[str]:
    directories = []
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=fd)
    return directories


def walk(parent: int, name: str, visit: Visit, leave: Callable[[int], None]) -> None:
    """Visit every directory of the tree, parents first: `visit(fd, name, entries)`, then, after all of
    its subdirectories, `leave(fd)`. Raises OSError, or Aborted if a directory is moved away meanwhile.
    """
    cursor = _Cursor(parent, name)
    try:
        _visit(cursor, name, visit)
        while cursor.levels:
            pending = cursor.levels[-1].pending
            if not pending:
                leave(cursor.fd)
                cursor.up()
                continue
            below = pending.pop()
            try:
                cursor.down(below)
            except (FileNotFoundError, NotADirectoryError):
                continue  # gone since it was listed: a live tree changes
            _visit(cursor, below, visit)
    finally:
        cursor.close()


def _visit(cursor: _Cursor, name: str, visit: Visit) -> None:
    with os.scandir(cursor.fd) as listing:
        entries = list(listing)
    visit(cursor.fd, name, entries)
    cursor.enter([entry.name for entry in entries if entry.is_dir(follow_symlinks=False)])


def statuses(fd: int, entries: list[os.DirEntry[str]]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield name and lstat of each entry that is still there."""
    for entry in entries:
        try:
            yield entry.name, os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            continue


def disk_usage(parent: int, name: str) -> tuple[int, int]:
    """Return bytes allocated and inodes of the tree, hard links counted once.

    The tree may be live: what moves away while it is counted makes the figures approximate.
    """
    own = os.stat(name, dir_fd=parent, follow_symlinks=False)
    total = [own.st_blocks * _BLOCK, 1]
    linked: set[tuple[int, int]] = set()

    def count(fd: int, _name: str, entries: list[os.DirEntry[str]]) -> None:
        for _, status in statuses(fd, entries):
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                identity = (status.st_dev, status.st_ino)
                if identity in linked:
                    continue
                linked.add(identity)
            total[0] += status.st_blocks * _BLOCK
            total[1] += 1

    with suppress(Aborted):
        walk(parent, name, count, lambda _: None)
    return total[0], total[1]
