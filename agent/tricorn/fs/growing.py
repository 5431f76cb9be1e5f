"""A blob's file that is still being written, as the process reads it that unpacks the layer.

Imported by the layer extractor: standard library and `errors` only.
"""

from __future__ import annotations

import os
import struct
from typing import Final

from tricorn.errors import DataLoss

COMPLETE: Final = 1 << 63  # set in an offset: the source ends there
OFFSET: Final = struct.Struct("=Q")


class Source:
    """The growing file: reads up to the offset that the agent has told, and waits for more.

    The descriptor's own file position is the progress that the agent sees, since it shares it.
    """

    def __init__(self, fd: int, progress: int) -> None:
        self._fd = fd
        self._progress = progress
        self._position = os.lseek(fd, 0, os.SEEK_CUR)
        self._valid = 0
        self._complete = False
        self._partial = b""

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes, b"" at the end. Ends the process when the agent is gone."""
        while self._position >= self._valid:
            if self._complete:
                return b""
            self._wait()
        data = os.read(self._fd, min(count, self._valid - self._position))
        if not data:
            raise DataLoss("the layer's file is shorter than announced", why=f"{self._position} bytes")
        self._position += len(data)
        return data

    def _wait(self) -> None:
        data = self._partial + os.read(self._progress, 65536 - len(self._partial))
        if len(data) == len(self._partial):
            os._exit(1)  # the agent died or gave up: nobody wants the result
        whole = len(data) - len(data) % OFFSET.size
        self._partial = data[whole:]
        for (offset,) in OFFSET.iter_unpack(data[:whole]):
            if offset & COMPLETE:
                self._complete = True
            self._valid = max(self._valid, offset & ~COMPLETE)
