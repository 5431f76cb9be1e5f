"""What a layer takes on disk, counted while it is applied, so that nobody has to walk its files again.

Imported by the layer extractor: standard library only.
"""

from __future__ import annotations

import os
from typing import Final

_SECTOR: Final = 512
_INLINE_LINK: Final = 60  # a symlink's target up to this length lies in its inode


class Tally:
    """Allocated bytes and inodes of what is made. `known` is cleared by what makes counting unsafe."""

    __slots__ = ("_directories", "_rounding", "bytes", "inodes", "known")

    def __init__(self, root: int) -> None:
        self._rounding = os.fstat(root).st_blksize - 1
        self._directories: set[int] = set()
        self.bytes = 0
        self.inodes = 0
        self.known = True

    def file(self, size: int) -> None:
        """Count a new file whose blocks are all written and that has no attributes."""
        self.inodes += 1
        self.bytes += (size + self._rounding) & ~self._rounding

    def measured(self, fd: int) -> None:
        """Count a new file as the file system has it."""
        self.inodes += 1
        self.bytes += os.fstat(fd).st_blocks * _SECTOR

    def symlink(self, target: bytes) -> None:
        self.inodes += 1
        if len(target) >= _INLINE_LINK:
            self.bytes += self._rounding + 1

    def special(self) -> None:
        self.inodes += 1

    def directory(self, status: os.stat_result) -> None:
        """Count a directory that is complete, once."""
        if status.st_ino not in self._directories:
            self._directories.add(status.st_ino)
            self.inodes += 1
            self.bytes += status.st_blocks * _SECTOR

    @property
    def usage(self) -> tuple[int, int] | None:
        """Bytes and inodes, None if they must be counted anew."""
        return (self.bytes, self.inodes) if self.known else None
