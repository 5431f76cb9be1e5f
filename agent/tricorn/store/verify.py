"""Reads blobs again, off the disk, to see whether they still are what their digests say. All calls block.

Whoever else uses the disk goes first: the reading thread has idle I/O priority for as long as it reads (which
the BFQ scheduler heeds, others don't). What is read doesn't stay in the page cache.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import stat
from collections.abc import Iterator
from typing import Any, Final

from attrs import define, field

from tricorn.errors import TricornError
from tricorn.model.ids import Digest
from tricorn.store.blob_files import file_errors

SLICE: Final = 4 << 20  # bytes read between two looks at the clock
_BUFFER: Final = 1 << 20
_IDLE: Final = 3 << 13  # IOPRIO_CLASS_IDLE
_THREAD: Final = 1  # IOPRIO_WHO_PROCESS; 0 then means the calling thread
_NUMBERS: Final = {  # of ioprio_set and ioprio_get
    "x86_64": (251, 252), "aarch64": (30, 31), "riscv64": (30, 31), "ppc64le": (273, 274),
    "s390x": (282, 283),
}  # fmt: skip
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def idle_priority() -> Iterator[None]:
    """Let the calling thread do its I/O when nobody else wants to, where this machine knows how."""
    numbers = _NUMBERS.get(platform.machine())
    before = _LIBC.syscall(numbers[1], _THREAD, 0) if numbers else -1
    if numbers and before >= 0:
        _LIBC.syscall(numbers[0], _THREAD, 0, _IDLE)
    try:
        yield
    finally:
        if numbers and before >= 0:
            _LIBC.syscall(numbers[0], _THREAD, 0, before)


@define
class BlobReading:
    """One blob being read again, slice by slice; close it. `damage` tells what is wrong with it, once
    `step` has returned False: "" for nothing.
    """

    path: str
    digest: Digest
    size: int
    offset: int = 0
    damage: str = ""
    identity: tuple[int, int] | None = None  # device and inode of the file that was read
    _descriptor: int = -1
    _hash: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._hash = hashlib.new(self.digest.algorithm)

    def open(self, *, keep_cache: bool = False) -> bool:
        """Open the file and compare its size; return whether that is right. What is in memory of it is
        dropped, unless it is to be kept: not that is to be verified.
        """
        self.damage = self._open()
        if not self.damage and not keep_cache:
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return not self.damage

    def _open(self) -> str:
        try:
            with file_errors(f"content {self.digest} could not be opened"):
                self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                found = os.fstat(self._descriptor)
        except TricornError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return "its file is missing"
            raise
        self.identity = found.st_dev, found.st_ino
        if not stat.S_ISREG(found.st_mode):
            return "it is no regular file"
        if found.st_size != self.size:
            return f"its file has {found.st_size} bytes, recorded are {self.size}"
        return ""

    def step(self, count: int = SLICE) -> bool:
        """Read up to `count` bytes more; return whether there are any left. Bytes that the disk can't give
        are damage as well.
        """
        buffer = bytearray(_BUFFER)
        end = min(self.offset + count, self.size)
        start = self.offset
        with idle_priority():
            while self.offset < end:
                try:
                    with memoryview(buffer)[: end - self.offset] as view:
                        read = os.preadv(self._descriptor, [view], self.offset)
                except OSError as error:
                    self.damage = f"its file can't be read at byte {self.offset}: {error.strerror}"
                    return False
                if not read:
                    self.damage = f"its file ends at byte {self.offset}"
                    return False
                self._hash.update(memoryview(buffer)[:read])
                self.offset += read
        os.posix_fadvise(self._descriptor, start, self.offset - start, os.POSIX_FADV_DONTNEED)
        if self.offset < self.size:
            return True
        actual = self._hash.hexdigest()
        if actual != self.digest.hex:
            self.damage = f"its bytes hash to {self.digest.algorithm}:{actual}"
        return False

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
