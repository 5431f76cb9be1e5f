"""Decompression and the digest of a layer's tar, in a process beside the one that applies it.

Two interpreters share the work, since the threads of one would wait for each other at every file that is
made. The unpacking process has no capability and may make no call but to read what it was lent, to write to
its socket and to wait. The tar goes through slots of shared memory; whoever applies it copies headers out
before it looks at them. Slots come into use as the other side falls behind, so that a run of small files,
which take long to make, doesn't hold up the decompression, and memory is taken where that happens only.
Imported by the layer extractor: standard library and the decompressors only.
"""

from __future__ import annotations

import gc
import hashlib
import json
import mmap
import os
import queue
import select
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, NoReturn

from tricorn import errors
from tricorn.errors import Internal, ResourceExhausted, TricornError
from tricorn.fs import confine, decompress, seccomp
from tricorn.fs.filling import Filling
from tricorn.fs.growing import Source

_SLOT: Final = decompress.OUTPUT_CHUNK
_SLOTS: Final = 16  # the most that are lent: more would leave the cache
_FIRST: Final = 4  # those in use while the other side keeps up: they stay in the cache
_CHUNK: Final = struct.Struct("=II")  # the next chunk's slot and length
_PACKET: Final = 65536


class Unpacked:
    """What the unpacking process makes of a layer, as the process sees it that applies it."""

    def __init__(self, memory: mmap.mmap, link: int, freed: int, process: int) -> None:
        self._memory = memory
        self._slots = memoryview(memory)
        self._link = link
        self._freed = freed
        self._end: dict[str, Any] = {}
        self.process = process

    @property
    def descriptors(self) -> list[int]:
        """What the process that applies the layer keeps open, and may give other numbers."""
        return [self._link, self._freed]

    @descriptors.setter
    def descriptors(self, numbers: list[int]) -> None:
        self._link, self._freed = numbers

    def leave(self) -> None:
        """Close everything here: another process, forked since, goes on with it."""
        self._slots.release()
        self._memory.close()
        os.close(self._link)
        os.close(self._freed)

    def filling(self, after: int) -> Filling:
        """Start a process that fills files after the first `after` entries. Raises OSError."""
        return Filling(self._slots, self._freed, after)

    def chunks(self, filling: Filling | None = None) -> Iterator[memoryview]:
        """Yield the bytes of the tar, each chunk valid until the next is asked for, and until `filling` has
        filled the files that are in it.

        Raises what the decompression met, Internal if its process died; what `filling` met.
        """
        while len(message := self._next()) == _CHUNK.size:
            slot, length = _CHUNK.unpack(message)
            if length > _SLOT or slot >= _SLOTS:
                raise Internal("the unpacking process overfilled a slot")
            start = slot * _SLOT
            if filling is not None:
                filling.chunk = start
            yield self._slots[start : start + length]
            if filling is not None and filling.leave(slot):
                continue
            with suppress(BrokenPipeError, ConnectionResetError):  # the next message tells
                os.write(self._freed, bytes((slot,)))
        if not message:
            raise Internal(
                "the unpacking of the layer died", why="it was killed or crashed", hint="see the kernel's log"
            )
        self._end = json.loads(message)
        if "error" in self._end:
            raise _told(self._end["error"])

    def _next(self) -> bytes:
        try:
            return os.read(self._link, _PACKET)
        except ConnectionResetError:
            return b""

    def finish(self) -> tuple[str, int]:
        """Return the diff ID and the size of the whole tar, once `chunks` has ended; let the process go."""
        os.close(self._link)
        os.close(self._freed)
        return str(self._end["diff_id"]), int(self._end["size"])


def _told(problem: dict[str, Any]) -> TricornError:
    cls = errors.BY_CODE.get(str(problem.get("code")), Internal)
    return cls(str(problem.get("what")), why=str(problem.get("why", "")), hint=str(problem.get("hint", "")))


def start(source: int, progress: int, root: int, compression: str) -> Unpacked:
    """Fork the unpacking process, which ends with this one, and lend it the growing file; `root` is the
    directory that it gets for a file system.

    Called by the server of extractors for the process that it forks next, rather than by that: after a fork
    either side pays for each page that it writes to, and the server has the fewest to write to.
    """
    memory = mmap.mmap(-1, _SLOTS * _SLOT)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    freed_read, freed_write = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    process = os.fork()
    if not process:
        _run(_Slots(memory, theirs.detach(), freed_read), source, progress, root, compression, parent)
    theirs.close()
    os.close(freed_read)
    return Unpacked(memory, ours.detach(), freed_write, process)


# ------------------------------------------------------------------ the process
def _run(slots: _Slots, source: int, progress: int, root: int, compression: str, parent: int) -> NoReturn:
    status = 1
    try:
        confine.die_with_parent(parent)
        signal.set_wakeup_fd(-1)
        confine.silence()
        confine.enter_root(root)
        confine.close_all_but(0, 1, 2, slots.link, slots.freed, source, progress)
        confine.limit_resources()
        confine.forbid_tracing()
        confine.keep_capabilities(frozenset())
        seccomp.install(seccomp.COMPUTE)
        gc.disable()
        outcome = _outcome(slots, Source(source, progress), compression)
        os.write(slots.link, json.dumps(outcome).encode())
        while os.read(slots.link, _PACKET):  # a socket closed with words unread would lose ours, too
            pass
        status = 0
    finally:
        os._exit(status)


def _outcome(slots: _Slots, source: Source, compression: str) -> dict[str, Any]:
    hashing = _Hashing(slots)
    try:
        fill = _filler(source, compression)
        while count := fill(slots.room(slot := slots.take())):
            hashing.put(slot, count)
    except TricornError as error:
        return {"error": error.problem()}
    except MemoryError:
        return {"error": ResourceExhausted("the layer takes too much memory").problem()}
    except Exception as error:  # noqa: BLE001 - the one place where a defect can be told
        return {"error": Internal("the layer's unpacking failed", why=repr(error)[:300]).problem()}
    finally:
        hashing.finish()  # what came before an error is handed on before it
    return hashing.result


def _filler(source: Source, compression: str) -> decompress.Fill:
    start_of_file = source.read(decompress.DETECT_SIZE)
    while len(start_of_file) < decompress.DETECT_SIZE and (more := source.read(decompress.DETECT_SIZE)):
        start_of_file += more
    read = decompress.prefixed(start_of_file, source.read)
    return decompress.filler(read, decompress.detect(start_of_file, compression))


class _Slots:
    """The shared memory, as the process sees it that fills it."""

    def __init__(self, memory: mmap.mmap, link: int, freed: int) -> None:
        self._memory = memoryview(memory)
        self.link = link
        self.freed = freed
        self._free = list(range(_FIRST))
        self._used = _FIRST
        os.set_blocking(freed, False)
        self._poll = select.poll()
        self._poll.register(freed, select.POLLIN)

    def room(self, slot: int, length: int = _SLOT) -> memoryview:
        return self._memory[slot * _SLOT : slot * _SLOT + length]

    def take(self) -> int:
        """Return a slot that nobody reads, a new one where there is none yet; else wait for one."""
        while not self._free:
            try:
                freed = os.read(self.freed, _SLOTS)
            except BlockingIOError:
                if self._used < _SLOTS:
                    self._used += 1
                    return self._used - 1
                self._poll.poll()
                continue
            if not freed:
                os._exit(1)  # whoever applied the layer has given up
            self._free.extend(freed)
        return self._free.pop()


class _Hashing:
    """Hashes what is in the slots, in a thread of its own, and hands each on to whoever applies it."""

    def __init__(self, slots: _Slots) -> None:
        self._slots = slots
        self._chunks: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
        self._hash = hashlib.sha256()
        self._size = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, slot: int, length: int) -> None:
        self._chunks.put((slot, length))

    def finish(self) -> None:
        """Wait until all chunks were handed on."""
        self._chunks.put(None)
        self._thread.join()

    @property
    def result(self) -> dict[str, Any]:
        """The diff ID and the size of all chunks."""
        return {"diff_id": f"sha256:{self._hash.hexdigest()}", "size": self._size}

    def _run(self) -> None:
        slots, update = self._slots, self._hash.update
        while chunk := self._chunks.get():
            update(slots.room(*chunk))
            self._size += chunk[1]
            try:
                os.write(slots.link, _CHUNK.pack(*chunk))
            except OSError:
                os._exit(1)  # whoever applied the layer has given up
