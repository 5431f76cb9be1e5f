"""The difference of two directory trees as a layer: what `right` has and `left` hasn't, and whiteouts.

The trees are untrusted and may be live. Everything is reached by descriptor, one name at a time, on mounts
without devices; nothing here follows a link. Imported by the children of the fork server.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final, Literal

from tricorn.errors import FailedPrecondition
from tricorn.fs import diff_entries as entries
from tricorn.fs.tarheader import BLOCK_DEVICE as BLOCK
from tricorn.fs.tarheader import CHARACTER, DIRECTORY, FIFO, HARDLINK, REGULAR, SYMLINK, show
from tricorn.fs.tarwriter import TarWriter
from tricorn.fs.whiteouts import OPAQUE, PREFIX

RightForm = Literal["tree", "upper"]

_WARNINGS: Final = 100
_NANOSECONDS: Final = 1_000_000_000
_SPECIAL: Final = {stat.S_IFCHR: CHARACTER, stat.S_IFBLK: BLOCK, stat.S_IFIFO: FIFO}
_ROOT_MODE: Final = 0o755
# Of an upper directory that only the kernel can read: its files are elsewhere or without content.
_UNREADABLE: Final = ("redirect", "metacopy")
NEEDS_TREE: Final = "the upper directory takes a mount to read"


class _Frame:
    """A directory being compared. `pending` is its own header until something below it is written."""

    __slots__ = ("left", "names", "path", "pending", "right", "status")

    def __init__(self, path: bytes, right: int, left: int | None, names: Iterator[str]) -> None:
        self.path = path
        self.right = right
        self.left = left
        self.names = names
        self.status = os.fstat(right)
        self.pending = True


class LayerDiff:
    """Writes the layer that turns the tree `left` (None: nothing) into `right`.

    With the form `upper`, `right` is the upper directory of an overlay mount whose lower directories are
    `left`: only changes are in it. FailedPrecondition with `NEEDS_TREE` if it can't be read so. `epoch`
    bounds all times, in seconds.
    """

    def __init__(
        self, left: int | None, right: int, writer: TarWriter, *, form: RightForm = "tree",
        epoch: int | None = None,
    ) -> None:  # fmt: skip
        self._left = left
        self._right = right
        self._writer = writer
        self._upper = form == "upper"
        self._epoch = epoch
        self._frames: list[_Frame] = []
        self._linked: dict[tuple[int, int], bytes] = {}
        self.warnings: list[str] = []

    def run(self) -> None:
        """Write everything but the end of the archive. Raises OSError or typed errors."""
        try:
            self._begin()
            while self._frames:
                name = next(self._frames[-1].names, None)
                if name is None:
                    self._leave()
                else:
                    self._entry(self._frames[-1], name)
        finally:
            while self._frames:
                self._leave()

    def _begin(self) -> None:
        right = os.dup(self._right)
        left = None if self._left is None else os.dup(self._left)
        self._enter(b"", right, left)
        root = self._frames[0]
        root.pending = False  # it has an entry only if its metadata are not what the layer below gives it
        xattrs = entries.xattrs_of(right)
        if left is None:
            status = root.status
            same = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (_ROOT_MODE, 0, 0)
            known: dict[str, bytes] = {}
        else:
            same, known = entries.same_metadata(os.fstat(left), root.status), entries.xattrs_of(left)
        if not same or xattrs != known:
            self._write_directory(root)

    # ------------------------------------------------------------ directories
    def _enter(self, path: bytes, right: int, left: int | None) -> None:
        try:
            names = set(os.listdir(right))
            if left is not None and not self._upper:
                names.update(os.listdir(left))
            frame = _Frame(path, right, left, iter(sorted(names, key=os.fsencode)))
        except BaseException:
            os.close(right)
            if left is not None:
                os.close(left)
            raise
        self._frames.append(frame)

    def _leave(self) -> None:
        frame = self._frames.pop()
        os.close(frame.right)
        if frame.left is not None:
            os.close(frame.left)

    def _directory(self, frame: _Frame, name: str, below: os.stat_result | None) -> None:
        right = entries.open_directory(frame.right, name)
        if right is None:
            return
        left = None
        if below is not None and stat.S_ISDIR(below.st_mode) and frame.left is not None:
            left = entries.open_directory(frame.left, name)
        opaque = False
        if self._upper:
            self._check_readable(right)
            opaque = left is not None and entries.overlay_mark(right, "opaque") == b"y"
        known = None if left is None else (os.fstat(left), entries.xattrs_of(left))
        if opaque and left is not None:
            os.close(left)
            left = None
        self._enter(_join(frame.path, name), right, left)
        entered = self._frames[-1]
        if known is None or not (
            entries.same_metadata(known[0], entered.status) and entries.xattrs_of(right) == known[1]
        ):
            self._parents()
        if opaque:
            self._whiteout(entered, OPAQUE)

    def _check_readable(self, fd: int) -> None:
        if any(entries.overlay_mark(fd, name) is not None for name in _UNREADABLE):
            raise FailedPrecondition(NEEDS_TREE)

    def _parents(self) -> None:
        """Write the entries of all directories on the way here that have none yet."""
        for frame in self._frames:
            if frame.pending:
                self._write_directory(frame)

    def _write_directory(self, frame: _Frame) -> None:
        frame.pending = False
        self._add(frame.path or b".", DIRECTORY, frame.status, xattrs=entries.xattrs_of(frame.right))

    # ------------------------------------------------------------ entries
    def _entry(self, frame: _Frame, name: str) -> None:
        right = entries.status_of(frame.right, name)
        left = entries.status_of(frame.left, name)
        if right is not None and self._upper and _is_whiteout(right):
            right = None
        if right is None or stat.S_ISSOCK(right.st_mode):
            if left is not None:
                self._whiteout(frame, PREFIX + os.fsencode(name))
        elif os.fsencode(name).startswith(PREFIX):
            self._warn(f"{show(_join(frame.path, name))} is left out: in a layer it would be a whiteout")
        elif stat.S_ISDIR(right.st_mode):
            self._directory(frame, name, left)
        elif stat.S_ISREG(right.st_mode):
            self._regular(frame, name, left, right)
        else:
            self._special(frame, name, left, right)

    def _regular(self, frame: _Frame, name: str, left: os.stat_result | None, right: os.stat_result) -> None:
        if left is not None and not self._upper and entries.same_inode(left, right):
            return
        fd = entries.open_regular(frame.right, name)
        if fd is None:
            return
        try:
            if self._upper:
                if not right.st_size and entries.overlay_mark(fd, "whiteout") is not None:
                    self._whiteout(frame, PREFIX + os.fsencode(name))
                    return
                self._check_readable(fd)
            xattrs = entries.xattrs_of(fd)
            if left is None or not self._unchanged(frame, name, left, fd, xattrs):
                self._write_regular(_join(frame.path, name), fd, xattrs)
        finally:
            os.close(fd)

    def _unchanged(
        self, frame: _Frame, name: str, left: os.stat_result, fd: int, xattrs: dict[str, bytes]
    ) -> bool:
        right = os.fstat(fd)
        if not (entries.same_metadata(left, right) and entries.same_times(left, right)):
            return False
        assert frame.left is not None
        old = entries.open_regular(frame.left, name)
        if old is None:
            return False
        try:
            if entries.xattrs_of(old) != xattrs:
                return False
            # What is in an upper directory was written to: its time proves nothing.
            return (not self._upper and entries.times_prove(right)) or entries.same_content(old, fd)
        finally:
            os.close(old)

    def _write_regular(self, path: bytes, fd: int, xattrs: dict[str, bytes]) -> None:
        status = os.fstat(fd)
        self._parents()
        identity = (status.st_dev, status.st_ino)
        first = self._linked.get(identity) if status.st_nlink > 1 else None
        if first is not None:
            self._add(path, HARDLINK, status, link=first)
            return
        if status.st_nlink > 1:
            self._linked[identity] = path
        self._add(path, REGULAR, status, size=status.st_size, xattrs=xattrs)
        if not self._writer.copy(fd, status.st_size):
            self._warn(f"{show(path)} became shorter while it was read: zeros take the place of what is gone")

    def _special(self, frame: _Frame, name: str, left: os.stat_result | None, right: os.stat_result) -> None:
        target = b""
        if stat.S_ISLNK(right.st_mode):
            try:
                target = os.fsencode(os.readlink(name, dir_fd=frame.right))
            except OSError:
                return  # gone or replaced meanwhile
        if left is not None and entries.same_metadata(left, right):
            if not stat.S_ISLNK(left.st_mode):
                return
            assert frame.left is not None
            if os.fsencode(os.readlink(name, dir_fd=frame.left)) == target:
                return
        self._parents()
        kind = _SPECIAL.get(stat.S_IFMT(right.st_mode), SYMLINK)
        self._add(_join(frame.path, name), kind, right, link=target)

    # ------------------------------------------------------------ output
    def _whiteout(self, frame: _Frame, marker: bytes) -> None:
        self._parents()
        path = frame.path + b"/" + marker if frame.path else marker
        self._writer.add(path, REGULAR, mtime=self._time(frame.status))

    def _add(
        self, path: bytes, kind: bytes, status: os.stat_result, *, size: int = 0, link: bytes = b"",
        xattrs: dict[str, bytes] | None = None,
    ) -> None:  # fmt: skip
        device = status.st_rdev if kind in (CHARACTER, BLOCK) else 0
        self._writer.add(
            path, kind, mode=stat.S_IMODE(status.st_mode), uid=status.st_uid, gid=status.st_gid, size=size,
            mtime=self._time(status), link=link, device=device, xattrs=xattrs,
        )  # fmt: skip

    def _time(self, status: os.stat_result) -> int:
        seconds = status.st_mtime_ns // _NANOSECONDS
        return seconds if self._epoch is None else min(seconds, self._epoch)

    def _warn(self, text: str) -> None:
        if len(self.warnings) < _WARNINGS:
            self.warnings.append(text)


def _join(path: bytes, name: str) -> bytes:
    return path + b"/" + os.fsencode(name) if path else os.fsencode(name)


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
