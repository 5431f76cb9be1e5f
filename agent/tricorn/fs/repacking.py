"""The agent's side of compressing layers otherwise: lends a blob to a child and reads the new one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from tricorn import limits
from tricorn.fs.diffing import LayerJob, lent_pipe
from tricorn.fs.extraction import ExtractorPool
from tricorn.fs.failures import typed


class RunningRepack(LayerJob):
    """One layer being packed. Read all of it before `finish`."""

    def __init__(self, path: str, scratch: str) -> None:
        opened: list[int] = []
        try:
            self._source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            opened.append(self._source)
            lent = [os.dup(self._source)]  # shares the file position, which is the progress
            opened += lent
            lent.append(_nowhere(scratch))
            opened.append(lent[-1])
            layer, writing = lent_pipe()
            opened += (layer, writing)
        except OSError as error:
            for fd in opened:
                os.close(fd)
            raise typed(error, f"cannot begin to pack {path}") from error
        try:
            super().__init__([*lent, writing], layer)
        except OSError as error:
            self.close()
            raise typed(error, f"cannot begin to pack {path}") from error

    @property
    def consumed(self) -> int:
        """Bytes of the source read so far."""
        return 0 if self._ended else os.lseek(self._source, 0, os.SEEK_CUR)

    def close(self) -> None:
        os.close(self._source)
        super().close()


def _nowhere(scratch: str) -> int:
    """Return a descriptor of an empty directory in which nothing can be made, for it is removed."""
    os.makedirs(scratch, mode=0o700, exist_ok=True)
    path = tempfile.mkdtemp(prefix="nowhere-", dir=scratch)
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.rmdir(path)


class LayerRepacker:
    """Implements `ports.LayerRepacker` with children of the extractors' fork server.

    `scratch` is a private directory, in which nothing stays.
    """

    def __init__(self, pool: ExtractorPool, scratch: str, parallel: int = limits.DIFFS_PARALLEL) -> None:
        self._pool = pool
        self._scratch = scratch
        self._limiter = trio.CapacityLimiter(parallel)

    @asynccontextmanager
    async def start(self, path: str, declared: str, compression: str) -> AsyncIterator[RunningRepack]:
        """Begin to pack the layer in the file `path` otherwise; see `ports.LayerRepacker`."""
        request = {"job": "repack", "declared": declared, "compression": compression}
        async with (
            self._limiter,
            self._pool.start_job(lambda: RunningRepack(path, self._scratch), request) as running,
        ):
            yield running
