"""Space that is kept for the database's log: on a full disk, too, something can be deleted.

Blocks are allocated beyond the log's end, which SQLite neither sees nor minds: nobody else can take them.
Where a file system can't, there is no reserve. Source: fallocate(2).
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

_SIZE: Final = 8 << 20  # the thread that renews it may leave 200 commits to the loop between two looks
_KEEP_SIZE: Final = 1  # FALLOC_FL_KEEP_SIZE


class LogReserve:
    """Keeps at least half of `size` bytes behind the end of the file `path`, as long as there is space."""

    def __init__(self, path: str, size: int = _SIZE) -> None:
        self._path = path
        self._size = size
        self._until = 0

    def renew(self) -> None:
        """Allocate what the log has used up of it. Costs a look at the file's size; never fails."""
        try:
            end = os.stat(self._path).st_size
            if end + self._size // 2 <= self._until:
                return
            fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # no log yet
            return
        try:
            if _allocate(fd, end + self._size):
                self._until = end + self._size
        finally:
            os.close(fd)


def _allocate(fd: int, length: int) -> bool:
    call = ctypes.CDLL(None).fallocate
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return int(call(fd, _KEEP_SIZE, 0, length)) == 0
