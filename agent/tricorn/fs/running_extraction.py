"""One layer under extraction, as the agent sees it: growth goes out, progress and a result come back."""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any, Final

import trio

from tricorn import errors, limits
from tricorn.errors import Internal, TricornError
from tricorn.fs.failures import typed
from tricorn.model.ids import Digest
from tricorn.ports import ExtractResult

_COMPLETE: Final = 1 << 63
_PACKET: Final = 65536


class RunningExtraction:
    """Implements `ports.Extraction`."""

    def __init__(self, source: str, target: str) -> None:
        self.done = False
        self._pidfd = -1
        self._ended = False
        opened: list[int] = []
        try:
            self._source = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            opened.append(self._source)
            target_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            opened.append(target_fd)
            progress, self._progress = os.pipe2(os.O_CLOEXEC)
            opened += (progress, self._progress)
            os.set_blocking(self._progress, False)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as error:
            for fd in opened:
                os.close(fd)
            raise typed(error, f"cannot extract {source} to {target}") from error
        self._result = trio.socket.from_stdlib_socket(ours)
        self._lent = [target_fd, progress, theirs.detach()]

    @property
    def child_descriptors(self) -> list[int]:
        """What the child is given, in the order it expects."""
        return [self._source, *self._lent]

    async def started(self) -> bool:
        """Take the handle of the child's process from the server; False if the server died instead."""
        self._close_lent()
        try:
            data, ancillary, _, _ = await self._result.recvmsg(_PACKET, socket.CMSG_SPACE(4))
        except ConnectionResetError:
            return False
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._pidfd = array.array("i", payload[:4])[0]
        return data == b"started" and self._pidfd >= 0

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
        result = _parse_result(await self._receive())
        self.done = True
        return result

    async def _receive(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            while part := await self._result.recv(_PACKET):
                parts.append(part)
                size += len(part)
                if size > limits.EXTRACT_RESULT_SIZE:
                    raise errors.ResourceExhausted("the result of a layer's extraction is too large")
        except ConnectionResetError:
            pass
        return b"".join(parts)

    async def end(self) -> None:
        """Kill the child if it still runs, wait until it is gone, close everything. Never fails."""
        if self._ended:
            return
        self._ended = True
        self._close_lent()
        os.close(self._progress)
        self._result.close()
        os.close(self._source)
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            await trio.lowlevel.wait_readable(self._pidfd)
            os.close(self._pidfd)

    def _close_lent(self) -> None:
        for fd in self._lent:
            os.close(fd)
        self._lent = []


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
            raise _error(problem)
        return ExtractResult(
            diff_id=Digest.parse(str(document["diff_id"])),
            size=int(document["size"]),
            entries=int(document["entries"]),
            warnings=tuple(str(text)[:1000] for text in document["warnings"][:100]),
            implied=tuple(map(str, document["implied"])),
        )
    except TricornError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Internal("the layer extractor's answer is malformed", why=str(error)[:200]) from error


def _error(problem: dict[str, Any]) -> TricornError:
    cls = errors.BY_CODE.get(str(problem.get("code")), Internal)
    return cls(
        str(problem.get("what", ""))[:1000],
        why=str(problem.get("why", ""))[:1000],
        hint=str(problem.get("hint", ""))[:1000],
    )
