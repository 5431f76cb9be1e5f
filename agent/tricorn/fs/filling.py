"""Fills the files that a layer's applier makes, in a process beside it that shares its descriptors.

To make a small file takes the kernel about as long as to write, date and close it. One process makes the
files and names them to the other in batches, as numbers: both have one table of descriptors. When a file is
filled makes no difference to anything else that a layer does to it, since that goes by the open file. The
other process has no capability, and may call for little more than to write, date and close what it is named.
Imported by the layer extractor: standard library and `errors` only.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from socket import AF_UNIX, SOCK_SEQPACKET, socketpair
from struct import Struct
from typing import Final, NoReturn

from tricorn.errors import Internal
from tricorn.fs import confine, seccomp
from tricorn.fs.entrychecks import entry_error
from tricorn.fs.tarheader import Entry

_FILE: Final = Struct("=iIIq")  # descriptor, where its bytes are in the memory, how many; nanoseconds
_FREED: Final = -1  # instead of a descriptor: the slot at the second number isn't read any more
_OUTCOME: Final = Struct("=ii")  # of a batch: the file that failed, or -1, and its errno
_BATCH: Final = 64
_AHEAD: Final = 8  # batches that may be under way: with the open directories within the descriptors allowed
_PACKET: Final = 4096
_CLONE_FILES: Final = 0x400
_CLONE: Final = {"x86_64": 56, "aarch64": 220}


class Filling:
    """The other process, as the applier sees it. The bytes are in `memory`, which both share, from `chunk`
    on; `freed` takes the numbers of the memory's slots that nobody reads any more. It is worth it for files
    that come later than the layer's first `after` entries.
    """

    chunk = 0

    def __init__(self, memory: memoryview, freed: int, after: int) -> None:
        """Start it. Raises OSError where no process can share descriptors."""
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
        applier = os.getpid()
        try:
            process = _fork_sharing()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if not process:
            _run(memory, theirs.fileno(), freed, applier)
        self._link = ours.detach()
        self._theirs = theirs.detach()  # one table: the other process has no other end
        self._process = os.pidfd_open(process)
        self._poll = select.poll()
        self._poll.register(self._link, select.POLLIN)
        self._poll.register(self._process, select.POLLIN)
        self._batch: list[bytes] = []
        self._entries: list[Entry] = []
        self._under_way: deque[list[Entry]] = deque()
        self._reads_slot = False
        self.after = after

    def give(self, fd: int, where: int, entry: Entry) -> None:
        """Have `fd` filled with what is at `where` of the chunk, dated and closed, by and by.

        Raises what became of an earlier one, and `fd` stays open: InvalidArgument or ResourceExhausted with
        its name, Internal if the process has died.
        """
        self._batch.append(_FILE.pack(fd, self.chunk + where, entry.size, entry.mtime))
        self._entries.append(entry)
        self._reads_slot = True
        if len(self._batch) >= _BATCH:
            self._send()

    def leave(self, slot: int) -> bool:
        """Have the slot freed after the files in it; False if there were none. Raises as `give`."""
        if not self._reads_slot:
            return False
        self._batch.append(_FILE.pack(_FREED, slot, 0, 0))
        self._reads_slot = False
        self._send()
        return True

    def finish(self) -> None:
        """Wait until all files are filled, and let the process go. Raises as `give`."""
        if self._batch:
            self._send()
        while self._under_way:
            self._hear()
        os.write(self._link, b"\0")
        self._poll.unregister(self._link)
        self._poll.poll()
        for fd in (self._link, self._theirs, self._process):
            os.close(fd)

    def _send(self) -> None:
        while len(self._under_way) >= _AHEAD:
            self._hear()
        os.write(self._link, b"".join(self._batch))
        self._under_way.append(self._entries)
        self._batch, self._entries = [], []

    def _hear(self) -> None:
        """Wait for the outcome of the oldest batch."""
        if not any(fd == self._link for fd, _ in self._poll.poll()):
            raise Internal(
                "the process that fills a layer's files died", why="it was killed or crashed",
                hint="see the kernel's log",
            )  # fmt: skip
        number, code = _OUTCOME.unpack(os.read(self._link, _PACKET))
        entries = self._under_way.popleft()
        if number >= 0:
            raise entry_error(entries[number], OSError(code, os.strerror(code)))


def _fork_sharing() -> int:
    """Fork this process, which has one thread, with one table of descriptors for both. Raises OSError."""
    number = _CLONE.get(os.uname().machine)
    if number is None:
        raise OSError("no number of clone(2) is known for this machine type")
    python = ctypes.pythonapi  # keeps the interpreter's lock meanwhile, as os.fork does
    call = ctypes.PyDLL(None, use_errno=True).syscall
    call.argtypes, call.restype = (ctypes.c_long,) * 6, ctypes.c_long
    python.PyOS_BeforeFork()
    process = int(call(number, _CLONE_FILES | signal.SIGCHLD, 0, 0, 0, 0))
    if process == 0:
        python.PyOS_AfterFork_Child()
        return 0
    code = ctypes.get_errno()
    python.PyOS_AfterFork_Parent()
    if process < 0:
        raise OSError(code, os.strerror(code))
    return process


# ------------------------------------------------------------------ the process
def _run(memory: memoryview, link: int, freed: int, applier: int) -> NoReturn:
    status = 1
    try:
        gc.disable()
        confine.die_with_parent(applier)
        confine.keep_capabilities(frozenset())
        seccomp.install(seccomp.FILL)
        fill = _filler(memory, freed)
        while len(batch := os.read(link, _PACKET)) >= _FILE.size:
            os.write(link, fill(batch))
        status = 0
    finally:
        os._exit(status)


def _filler(memory: memoryview, freed: int) -> Callable[[bytes], bytes]:
    write, utime, close, done = os.write, os.utime, os.close, _OUTCOME.pack(-1, 0)

    def fill(batch: bytes) -> bytes:
        outcome = done
        for number, (fd, start, size, mtime) in enumerate(_FILE.iter_unpack(batch)):
            if fd == _FREED:
                with suppress(BrokenPipeError, ConnectionResetError):  # the applier will be told
                    write(freed, bytes((start,)))
                continue
            try:
                written = write(fd, memory[start : start + size])
                while written < size:
                    written += write(fd, memory[start + written : start + size])
                utime(fd, ns=(mtime, mtime))
            except OSError as error:
                if outcome is done:
                    outcome = _OUTCOME.pack(number, error.errno or 0)
            close(fd)
        return outcome

    return fill
