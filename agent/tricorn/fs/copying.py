"""The agent's side of copies: lends a root and a pipe to a child, and moves an archive through the pipe."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from tricorn import limits
from tricorn.errors import Internal
from tricorn.fs.child_job import ChildJob, told_error
from tricorn.fs.diffing import LayerOutput, lent_pipe
from tricorn.fs.extraction import ExtractorPool
from tricorn.fs.failures import typed

_PIECE: Final = 256 * limits.KIB


class _CopyJob(ChildJob):
    def __init__(self, root: int, pipe: int) -> None:
        lent = [pipe]
        try:
            lent = [os.dup(root), pipe]
            lent.append(os.dup(root))
            super().__init__(lent)
        except OSError as error:
            for fd in lent:
                os.close(fd)
            raise typed(error, "cannot begin to copy") from error

    async def finish(self) -> dict[str, Any]:
        """Return what the child tells. Raises what it met; Internal if it died."""
        document = _document(await self.answer())
        self.done = True
        return document


class RunningSend(_CopyJob):
    """Files on their way out. Read all of it before `finish`."""

    def __init__(self, root: int) -> None:
        reading, writing = _pipe()
        self._output = LayerOutput(reading)
        super().__init__(root, writing)

    async def read(self) -> bytes:
        """Return the next bytes of the archive, b"" at its end."""
        return await self._output.read()

    def close(self) -> None:
        self._output.close()


class RunningPlace(_CopyJob):
    """Files on their way in."""

    def __init__(self, root: int) -> None:
        reading, self._input = _pipe()
        os.set_blocking(reading, True)
        os.set_blocking(self._input, False)
        super().__init__(root, reading)

    async def write(self, data: bytes | memoryview) -> bool:
        """Give the next bytes of the archive; False once the child takes no more."""
        view = memoryview(data)
        while view and self._input >= 0:
            try:
                view = view[os.write(self._input, view[:_PIECE]) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._input)
            except BrokenPipeError:
                return False
        return True

    def complete(self) -> None:
        """The archive is complete."""
        if self._input >= 0:
            os.close(self._input)
            self._input = -1

    def close(self) -> None:
        self.complete()


class FileCopier:
    """Copies with children of the extractors' fork server."""

    def __init__(self, pool: ExtractorPool, parallel: int = limits.COPIES_PARALLEL) -> None:
        self._pool = pool
        self._limiter = trio.CapacityLimiter(parallel)

    @asynccontextmanager
    async def send(self, root: int, path: str, top: str, *, follow: bool) -> AsyncIterator[RunningSend]:
        """Begin to archive `path` of the tree behind the descriptor `root`, named `top` in the archive."""
        request = {"job": "copy", "do": "send", "path": path, "top": top, "follow": follow}
        async with self._limiter, self._pool.start_job(lambda: RunningSend(root), request) as job:
            yield job

    @asynccontextmanager
    async def place(self, root: int, path: str, options: Mapping[str, Any]) -> AsyncIterator[RunningPlace]:
        """Begin to put an archive in place below the directory `path`; `options` are `Placing`'s."""
        request = {"job": "copy", "do": "place", "path": path, "options": dict(options)}
        async with self._pool.start_job(lambda: RunningPlace(root), request) as job:
            yield job

    async def look(self, root: int, path: str, *, follow: bool, digest: bool) -> dict[str, Any]:
        """Return the facts of one path. NotFound."""
        request = {"job": "copy", "do": "look", "path": path, "follow": follow, "digest": digest}
        async with self._limiter, self._pool.start_job(lambda: RunningSend(root), request) as job:
            return await job.finish()


def _pipe() -> tuple[int, int]:
    try:
        return lent_pipe()
    except OSError as error:
        raise typed(error, "cannot begin to copy") from error


def _document(data: bytes) -> dict[str, Any]:
    """Check what a child says: it has read hostile names, so nothing of it is taken on trust."""
    if not data:
        raise Internal("the child that copies died", hint="see the kernel's log for OOM")
    try:
        document: dict[str, Any] = json.loads(data)
        problem = document.get("error")
    except (ValueError, AttributeError) as error:
        raise Internal("the answer of a copying child is malformed", why=str(error)[:200]) from error
    if problem is not None:
        raise told_error(problem)
    return document
