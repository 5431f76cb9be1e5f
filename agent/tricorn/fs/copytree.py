"""Copies a directory tree whole: owners, modes, xattrs, times, devices, hard links and holes.

Works by descriptor on untrusted trees, in which nobody else writes meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from tricorn.fs import metadata, trees

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPAN: Final = 1 << 30
_NO_COPY_RANGE: Final = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


def copy_tree(source: str, target: str) -> None:
    """Fill the empty directory `target` with a copy of `source`. Raises OSError."""
    parent = os.open(os.path.dirname(source), _DIRECTORY)
    try:
        copier = _Copier(target)
        try:
            trees.walk(parent, os.path.basename(source), copier.visit, copier.leave)
        finally:
            copier.close()
    finally:
        os.close(parent)


class _Copier:
    """Follows `trees.walk` with the target's directory of the same name open."""

    def __init__(self, target: str) -> None:
        self._top = os.open(target, _DIRECTORY)
        self._fd = os.dup(self._top)
        self._names: list[str] = []
        self._depth = 0
        self._linked: dict[tuple[int, int], str] = {}

    def close(self) -> None:
        os.close(self._fd)
        os.close(self._top)

    def visit(self, source: int, name: str, entries: list[os.DirEntry[str]]) -> None:
        if self._depth:
            self._move(name)
            self._names.append(name)
        self._depth += 1
        for below, status in trees.statuses(source, entries):
            if stat.S_ISDIR(status.st_mode):
                os.mkdir(below, 0o700, dir_fd=self._fd)
            elif status.st_nlink == 1 or not self._link(below, status):
                self._copy_entry(source, below, status)

    def leave(self, source: int) -> None:
        metadata.copy(source, self._fd)
        self._depth -= 1
        if self._depth:
            self._names.pop()
            self._move("..")

    def _move(self, name: str) -> None:
        fd = os.open(name, _DIRECTORY, dir_fd=self._fd)
        os.close(self._fd)
        self._fd = fd

    def _link(self, name: str, status: os.stat_result) -> bool:
        """Link to the first copy of the same file. False if this is the first, or it is out of reach."""
        identity = (status.st_dev, status.st_ino)
        first = self._linked.get(identity)
        if first is not None:
            try:
                os.link(first, name, src_dir_fd=self._top, dst_dir_fd=self._fd, follow_symlinks=False)
            except OSError as error:
                if error.errno not in (errno.ENAMETOOLONG, errno.EMLINK):
                    raise
            else:
                return True
        self._linked[identity] = "/".join((*self._names, name))
        return False

    def _copy_entry(self, source: int, name: str, status: os.stat_result) -> None:
        if stat.S_ISREG(status.st_mode):
            self._copy_regular(source, name, status)
            return
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=self._fd)
        elif stat.S_ISSOCK(status.st_mode):
            return  # means nothing without the process that listens on it
        else:
            mode = stat.S_IFMT(status.st_mode) | 0o600
            os.mknod(name, mode, status.st_rdev, dir_fd=self._fd)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=self._fd, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=self._fd)
        metadata.copy_xattrs(f"/proc/self/fd/{source}/{name}", f"/proc/self/fd/{self._fd}/{name}")
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=self._fd, follow_symlinks=False)

    def _copy_regular(self, source: int, name: str, status: os.stat_result) -> None:
        from_fd = os.open(name, _READ, dir_fd=source)
        try:
            to_fd = os.open(name, _CREATE, 0o600, dir_fd=self._fd)
            try:
                copy_content(from_fd, to_fd, status)
                metadata.copy(from_fd, to_fd, status)
            finally:
                os.close(to_fd)
        finally:
            os.close(from_fd)


def copy_content(source: int, target: int, status: os.stat_result) -> None:
    """Copy a file's bytes, leaving its holes out. Raises OSError."""
    if status.st_blocks * 512 >= status.st_size:
        _copy_range(source, target, 0, status.st_size)
        return
    position = 0
    while position < status.st_size:
        try:
            start = os.lseek(source, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # a hole up to the end
        position = os.lseek(source, start, os.SEEK_HOLE)
        _copy_range(source, target, start, position - start)
    os.ftruncate(target, status.st_size)


def _copy_range(source: int, target: int, offset: int, count: int) -> None:
    end = offset + count
    while offset < end:
        try:
            # Shares the blocks where the file system can.
            copied = os.copy_file_range(source, target, min(end - offset, _SPAN), offset, offset)
        except OSError as error:
            if error.errno not in _NO_COPY_RANGE:
                raise
            data = os.pread(source, min(end - offset, 1 << 20), offset)
            copied = os.pwrite(target, data, offset) if data else 0
        if not copied:
            return
        offset += copied
