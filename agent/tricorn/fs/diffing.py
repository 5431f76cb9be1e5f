"""The agent's side of making layers: opens both trees, lends them to a child, and reads the layer."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any, Final

import trio

from tricorn import limits
from tricorn.errors import Internal, TricornError
from tricorn.fs import readonly_trees as trees
from tricorn.fs.child_job import ChildJob, told_error
from tricorn.fs.diff_walk import NEEDS_TREE, RightForm
from tricorn.fs.extraction import ExtractorPool
from tricorn.fs.failures import typed
from tricorn.model.ids import Digest
from tricorn.ports import DiffResult, FilesystemMount

_PIPE: Final = limits.MIB
_READ: Final = limits.MIB


def lent_pipe() -> tuple[int, int]:
    """Return both ends of a large pipe, the reading one for `LayerOutput`. Raises OSError."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reading, False)
    with suppress(OSError):  # over the user's share of pipe memory: a smaller one does as well
        fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, _PIPE)
    return reading, writing


class LayerOutput:
    """The end of a pipe out of which a layer comes that a child makes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end."""
        while True:
            try:
                return os.read(self._fd, _READ)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class LayerJob(ChildJob):
    """A child that writes a layer into the pipe `layer`, of which this reads the other end."""

    def __init__(self, lent: Sequence[int], layer: int) -> None:
        self._output = LayerOutput(layer)
        super().__init__(lent)

    async def read(self) -> bytes:
        """Return the next bytes of the layer, b"" at its end."""
        return await self._output.read()

    async def finish(self) -> DiffResult:
        """Return what was written. Raises what the child met; Internal if it died."""
        result = layer_result(await self.answer())
        self.done = True
        return result

    def close(self) -> None:
        self._output.close()


class RunningDiff(LayerJob):
    """One layer being made. Read all of it before `finish`."""

    def __init__(self, left: trees.OpenTree | None, right: trees.OpenTree) -> None:
        opened: list[int] = []
        try:
            opened.extend(os.dup(tree.fd) for tree in (left or right, right))
            layer, writing = lent_pipe()
            opened.append(writing)
        except OSError as error:
            for fd in opened:
                os.close(fd)
            raise typed(error, "cannot begin a diff") from error
        try:
            super().__init__(opened, layer)
        except OSError as error:
            self.close()
            raise typed(error, "cannot begin a diff") from error


class LayerDiffer:
    """Implements `ports.LayerDiffer` with children of the extractors' fork server.

    `scratch` is a private directory, in which trees are mounted for a moment on old kernels only.
    """

    def __init__(self, pool: ExtractorPool, scratch: str, parallel: int = limits.DIFFS_PARALLEL) -> None:
        self._pool = pool
        self._scratch = scratch
        self._limiter = trio.CapacityLimiter(parallel)
        self._opening = trio.CapacityLimiter(parallel)

    @asynccontextmanager
    async def start(
        self, left: Sequence[FilesystemMount], right: Sequence[FilesystemMount], compression: str, *,
        epoch: int | None = None, whole: bool = False,
    ) -> AsyncIterator[RunningDiff]:  # fmt: skip
        """Begin to make the layer that turns `left` into `right`; see `ports.LayerDiffer`."""
        upper = "" if whole else upper_directory(left, right)
        form: RightForm = "upper" if upper else "tree"
        async with self._limiter:
            with ExitStack() as opened:
                below = await self._open(opened, left) if left else None
                shown = [FilesystemMount("bind", upper, ("bind",))] if upper else right
                above = await self._open(opened, shown)
                request = {
                    "job": "diff", "left": below is not None, "form": form, "compression": compression,
                    "epoch": epoch,
                }  # fmt: skip
                async with self._pool.start_job(lambda: RunningDiff(below, above), request) as running:
                    yield running

    async def _open(self, opened: ExitStack, items: Sequence[FilesystemMount]) -> trees.OpenTree:
        with trio.CancelScope(shield=True):  # a tree opened for nobody would stay open
            tree = await trio.to_thread.run_sync(trees.open_tree, items, self._scratch, limiter=self._opening)
            opened.callback(tree.close)
        return tree


def upper_directory(left: Sequence[FilesystemMount], right: Sequence[FilesystemMount]) -> str:
    """Return the directory that holds all that `right` changes in `left`, "" if there is no such one."""
    below, above = trees.directories(left), trees.directories(right)
    if below is None or not above or not below or right[0].type != "overlay":
        return ""
    return above[0] if above[1:] == below else ""


def takes_a_mount(error: TricornError) -> bool:
    """Tell whether the layer has to be made again from the whole tree (`whole`)."""
    return error.what == NEEDS_TREE


def layer_result(data: bytes) -> DiffResult:
    """Check what a child says: it has read hostile input, so nothing of it is taken on trust.

    Raises the error that it reports; Internal if it died.
    """
    if not data:
        raise Internal("the child that makes a layer died", hint="see the kernel's log for OOM")
    try:
        document: dict[str, Any] = json.loads(data)
        problem = document.get("error")
        if problem is not None:
            raise told_error(problem)
        return DiffResult(
            diff_id=Digest.parse(str(document["diff_id"])),
            size=int(document["size"]),
            entries=int(document["entries"]),
            warnings=tuple(str(text)[:1000] for text in document["warnings"][:100]),
        )
    except TricornError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Internal("the answer of a layer's child is malformed", why=str(error)[:200]) from error
