"""One layer under extraction, as the agent sees it: growth goes out, progress and a result come back."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import Any, Final

import trio

from tricorn.errors import Internal, TricornError
from tricorn.fs.child_job import ChildJob, told_error
from tricorn.fs.failures import typed
from tricorn.model.ids import Digest
from tricorn.model.records import Usage
from tricorn.ports import ExtractResult

_COMPLETE: Final = 1 << 63


class RunningExtraction(ChildJob):
    """Implements `ports.Extraction`."""

    def __init__(self, source: str, target: str) -> None:
        opened: list[int] = []
        try:
            self._source = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            opened.append(self._source)
            target_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            opened.append(target_fd)
            progress, self._progress = os.pipe2(os.O_CLOEXEC)
            opened += (progress, self._progress)
            os.set_blocking(self._progress, False)
            source_copy = os.dup(self._source)  # shares the file position
            opened.append(source_copy)
        except OSError as error:
            for fd in opened:
                os.close(fd)
            raise typed(error, f"cannot extract {source} to {target}") from error
        try:
            super().__init__([source_copy, target_fd, progress])
        except OSError as error:
            self.close()
            raise typed(error, f"cannot extract {source} to {target}") from error

    def grew(self, offset: int) -> None:
        """Tell the child that `offset` bytes of the source are valid. Never blocks."""
        # A full pipe holds news enough; a broken one means that the result already waits.
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(self._progress, offset.to_bytes(8, sys.byteorder))

    @property
    def consumed(self) -> int:
        """Bytes of the source read so far: the file position, which the child's descriptor shares."""
        return 0 if self._ended else os.lseek(self._source, 0, os.SEEK_CUR)

    async def finish(self, total: int) -> ExtractResult:
        """Wait for the child's result; see `ports.Extraction`."""
        message = (total | _COMPLETE).to_bytes(8, sys.byteorder)
        while True:
            try:
                os.write(self._progress, message)
                break
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._progress)
            except BrokenPipeError:
                break
        result = _parse_result(await self.answer())
        self.done = True
        return result

    def close(self) -> None:
        os.close(self._progress)
        os.close(self._source)


def _parse_result(data: bytes) -> ExtractResult:
    """Check what the child says: it has read a hostile layer, so nothing of it is taken on trust."""
    if not data:
        raise Internal(
            "the layer extractor died", why="it was killed or crashed", hint="see the kernel's log for OOM"
        )
    try:
        document: dict[str, Any] = json.loads(data)
        problem = document.get("error")
        if problem is not None:
            raise told_error(problem)
        return ExtractResult(
            diff_id=Digest.parse(str(document["diff_id"])),
            size=int(document["size"]),
            entries=int(document["entries"]),
            warnings=tuple(str(text)[:1000] for text in document["warnings"][:100]),
            implied=tuple(map(str, document["implied"])),
            usage=_usage(document["usage"]),
        )
    except TricornError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Internal("the layer extractor's answer is malformed", why=str(error)[:200]) from error


def _usage(figures: list[int] | None) -> Usage | None:
    if figures is None:
        return None
    size, inodes = (max(0, int(figure)) for figure in figures)
    return Usage(size, inodes)
