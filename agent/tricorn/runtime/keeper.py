"""What a process's monitor holds for the agent, so that a process never loses its stdio with the agent.

The monitor gets copies of the agent's ends of pipes and FIFOs at descriptors of their own: so neither
process nor client sees an end when the agent goes, and a later agent borrows them back. The writing end
of stdin must also be closable, but nobody can make a monitor close a descriptor: it travels in the queue
of a socket that the monitor holds. Taken out of there, it is gone. And the client's FIFO of stdin, which
is opened after the monitor was started, can still be given to it that way.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import Final

from tricorn.model.records import ProcessIdentity
from tricorn.runtime import process

TERMINAL_FD: Final = 4  # the agent's end of the attach socket
OUTPUT_FDS: Final = {"stdout": 7, "stderr": 8}  # the agent's ends of the process's pipes
CLIENT_FDS: Final = {"stdout": 9, "stderr": 10}  # the agent's ends of the client's FIFOs
STDIN_FLIGHT: Final = (11, 12)  # with the writing end of the process's stdin
CLIENT_FLIGHT: Final = (13, 14)  # with the reading end of the client's FIFO, once it is open
_FLAGS: Final = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
_INT: Final = struct.calcsize("i")
_ROOM: Final = socket.CMSG_LEN(_INT)


class Flight:
    """A descriptor in the queue of a socket: held by whoever holds the socket's ends, until it is dropped."""

    def __init__(self, end: socket.socket, entry: socket.socket) -> None:
        self._end = end
        self._entry = entry

    @classmethod
    def make(cls) -> Flight:
        return cls(*socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))

    @classmethod
    def of(cls, monitor: ProcessIdentity, numbers: tuple[int, int]) -> Flight | None:
        """Borrow what a monitor holds at these descriptors; None when it holds none, or ended."""
        found = [process.borrow_descriptor(monitor, number) for number in numbers]
        sockets = [socket.socket(fileno=fd) for fd in found if fd is not None]
        if len(sockets) == len(numbers):
            return cls(*sockets)
        for one in sockets:
            one.close()
        return None

    def descriptors(self, numbers: tuple[int, int]) -> dict[int, int]:
        """Return what to start a monitor with so that it holds this."""
        return dict(zip(numbers, (self._end.fileno(), self._entry.fileno()), strict=True))

    def hold(self, fd: int) -> None:
        """Take a copy of `fd` on board; one at a time."""
        socket.send_fds(self._entry, [b"x"], [fd])

    def copy(self) -> int | None:
        """Return a further copy of what is held, None if nothing is."""
        return self._receive(socket.MSG_PEEK)

    def drop(self) -> None:
        """Let go of what is held, whoever else holds the socket."""
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
        self._entry.close()
