"""One child of the fork server, as the agent sees it: what it was lent, its process, its answer."""

from __future__ import annotations

import array
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import trio

from tricorn import errors, limits
from tricorn.errors import Internal, TricornError

_PACKET: Final = 65536


class ChildJob:
    """Base of what `ExtractorPool` runs. `lent` are three descriptors for the child; the job owns them.

    The child answers on a socket of its own, in as many packets as it takes, and ends.
    """

    def __init__(self, lent: Sequence[int]) -> None:
        self.done = False
        self._pidfd = -1
        self._ended = False
        self._lent = list(lent)
        self._early: list[bytes] = []
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            self._close_lent()
            raise
        self._result = trio.socket.from_stdlib_socket(ours)
        self._lent.append(theirs.detach())

    @property
    def child_descriptors(self) -> list[int]:
        """What the child is given, in the order it expects."""
        return self._lent

    async def started(self) -> bool:
        """Take the handle of the child's process from the server; False if the server died instead.

        A quick child may have answered before the server got to send it.
        """
        self._close_lent()
        size = 0
        try:
            while size <= limits.EXTRACT_RESULT_SIZE:
                data, ancillary, _, _ = await self._result.recvmsg(_PACKET, socket.CMSG_SPACE(4))
                self._pidfd = _handle_of(ancillary)
                if self._pidfd >= 0:
                    return True
                if not data:
                    break
                self._early.append(data)
                size += len(data)
        except ConnectionResetError:
            pass
        return False

    async def answer(self) -> bytes:
        """Wait for all that the child says. b"" if it died; ResourceExhausted if it says too much."""
        parts, self._early = self._early, []
        size = sum(map(len, parts))
        try:
            while part := await self._result.recv(_PACKET):
                parts.append(part)
                size += len(part)
                if size > limits.EXTRACT_RESULT_SIZE:
                    raise errors.ResourceExhausted("the result of a layer's extraction is too large")
        except ConnectionResetError:
            pass
        return b"".join(parts)

    def close(self) -> None:
        """Close what a kind of job holds beyond the rest; called once."""

    async def end(self) -> None:
        """Kill the child if it still runs, wait until it is gone, close everything. Never fails."""
        if self._ended:
            return
        self._ended = True
        self._close_lent()
        self.close()
        self._result.close()
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            await trio.lowlevel.wait_readable(self._pidfd)
            os.close(self._pidfd)

    def _close_lent(self) -> None:
        for fd in self._lent:
            os.close(fd)
        self._lent = []


def _handle_of(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """Return the descriptor that came with a packet, -1 if none did."""
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            return array.array("i", payload[:4])[0]
    return -1


def told_error(problem: dict[str, Any]) -> TricornError:
    """Return the error that a child reports: it has read hostile data, so its words are cut."""
    cls = errors.BY_CODE.get(str(problem.get("code")), Internal)
    return cls(
        str(problem.get("what", ""))[:1000],
        why=str(problem.get("why", ""))[:1000],
        hint=str(problem.get("hint", ""))[:1000],
    )
