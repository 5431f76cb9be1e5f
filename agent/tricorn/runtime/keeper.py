"""What a process's monitor holds for the agent, so that a process never loses its stdio with the agent.

The monitor gets copies of the agent's ends of pipes and FIFOs at descriptors of their own: so neither
process nor client sees an end when the agent goes, and a later agent borrows them back. The writing end
of stdin must also be closable, but nobody can make a monitor close a descriptor: it travels in the queue
of a socket that the monitor holds. Taken out of there, it is gone.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import Final

from tricorn.model.records import ProcessIdentity
from tricorn.runtime import process

QUEUE_FD: Final = 4  # the same place as the attach client of terminals: a process has one or the other
OUTPUT_FDS: Final = {"stdout": 7, "stderr": 8}  # the agent's ends of the process's pipes
CLIENT_FDS: Final = {"stdin": 9, "stdout": 10, "stderr": 11}  # the agent's ends of the client's FIFOs
_FLAGS: Final = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
_INT: Final = struct.calcsize("i")
_ROOM: Final = socket.CMSG_LEN(_INT)


class StdinQueue:
    """A socket with the writing end of a pipe in flight."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    @classmethod
    def holding(cls, fd: int) -> StdinQueue:
        """Return a queue that holds a copy of `fd`."""
        end, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            socket.send_fds(other, [b"w"], [fd])
        return cls(end)

    @classmethod
    def of(cls, monitor: ProcessIdentity) -> StdinQueue | None:
        """Borrow a monitor's queue; None when it has none, or ended."""
        fd = process.borrow_descriptor(monitor, QUEUE_FD)
        return cls(socket.socket(fileno=fd)) if fd is not None else None

    def fileno(self) -> int:
        return self._end.fileno()

    def copy(self) -> int | None:
        """Return a further copy of what is held, None if it was dropped."""
        return self._receive(socket.MSG_PEEK)

    def drop(self) -> None:
        """Let go of what is held, in every process that holds the queue."""
        fd = self._receive(0)
        if fd is not None:
            os.close(fd)

    def _receive(self, flags: int) -> int | None:
        # not socket.recv_fds: it forgets its flags (Python 3.11)
        try:
            _, found, _, _ = self._end.recvmsg(1, _ROOM, flags | _FLAGS)
        except OSError:
            return None
        for level, kind, data in found:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                return int.from_bytes(data[:_INT], sys.byteorder)
        return None

    def close(self) -> None:
        self._end.close()
