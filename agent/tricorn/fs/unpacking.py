"""Decompression and the digest of a layer's tar, in a process beside the one that applies it.

Two interpreters share the work, since the threads of one would wait for each other at every file that is
made. The unpacking process has no capability and may make no call but to read what it was lent and to write
to its socket. The tar goes through a ring of shared memory; whoever applies it copies headers out before
it looks at them. Imported by the layer extractor: standard library and the decompressors only.
"""

from __future__ import annotations

import gc
import hashlib
import json
import mmap
import os
import queue
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, NoReturn

from tricorn import errors
from tricorn.errors import Internal, ResourceExhausted, TricornError
from tricorn.fs import confine, decompress, seccomp
from tricorn.fs.growing import Source

_SLOTS: Final = 8
_SLOT: Final = decompress.OUTPUT_CHUNK
_LENGTH: Final = struct.Struct("=I")  # of what is in the next slot
_QUEUED_CHUNKS: Final = 4
_PACKET: Final = 65536
_FREE: Final = b"f"


class Unpacked:
    """What the unpacking process makes of a layer, as the process sees it that applies it."""

    def __init__(self, ring: mmap.mmap, link: int) -> None:
        self._ring = memoryview(ring)
        self._link = link
        self._end: dict[str, Any] = {}

    def chunks(self) -> Iterator[memoryview]:
        """Yield the bytes of the tar, each chunk valid until the next is asked for.

        Raises what the decompression met, Internal if its process died.
        """
        slot = 0
        while len(message := self._next()) == _LENGTH.size:
            (length,) = _LENGTH.unpack(message)
            if length > _SLOT:
                raise Internal("the unpacking process overfilled a slot")
            yield self._ring[slot : slot + length]
            slot = (slot + _SLOT) % len(self._ring)
            with suppress(BrokenPipeError, ConnectionResetError):  # the next message tells
                os.write(self._link, _FREE)
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
        return str(self._end["diff_id"]), int(self._end["size"])


def _told(problem: dict[str, Any]) -> TricornError:
    cls = errors.BY_CODE.get(str(problem.get("code")), Internal)
    return cls(str(problem.get("what")), why=str(problem.get("why", "")), hint=str(problem.get("hint", "")))


def start(source: int, progress: int, compression: str) -> Unpacked:
    """Fork the unpacking process, which ends with this one, and lend it the growing file.

    To be called before this process has threads, capabilities less or a filter of its calls.
    """
    ring = mmap.mmap(-1, _SLOTS * _SLOT)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    if not os.fork():
        ours.close()
        _run(ring, theirs.detach(), source, progress, compression, parent)
    theirs.close()
    os.close(source)
    os.close(progress)
    return Unpacked(ring, ours.detach())


# ------------------------------------------------------------------ the process
def _run(ring: mmap.mmap, link: int, source: int, progress: int, compression: str, parent: int) -> NoReturn:
    status = 1
    try:
        confine.die_with_parent(parent)
        confine.close_all_but(0, 1, 2, link, source, progress)
        confine.keep_capabilities(frozenset())
        seccomp.install(seccomp.COMPUTE)
        gc.disable()
        outcome = _outcome(_Feeder(ring, link), Source(source, progress), compression)
        os.write(link, json.dumps(outcome).encode())
        while os.read(link, _PACKET):  # a socket closed with words unread would lose ours, too
            pass
        status = 0
    finally:
        os._exit(status)


def _outcome(feeder: _Feeder, source: Source, compression: str) -> dict[str, Any]:
    try:
        digest = _Digest()
        for chunk in _decompressed(source, compression):
            digest.put(chunk)
            feeder.put(chunk)
        return digest.finish()
    except TricornError as error:
        return {"error": error.problem()}
    except MemoryError:
        return {"error": ResourceExhausted("the layer takes too much memory").problem()}
    except BrokenPipeError:
        os._exit(1)  # whoever applied the layer has given up
    except Exception as error:  # noqa: BLE001 - the one place where a defect can be told
        return {"error": Internal("the layer's unpacking failed", why=repr(error)[:300]).problem()}


def _decompressed(source: Source, compression: str) -> Iterator[bytes]:
    start_of_file = source.read(decompress.DETECT_SIZE)
    while len(start_of_file) < decompress.DETECT_SIZE and (more := source.read(decompress.DETECT_SIZE)):
        start_of_file += more
    read = decompress.prefixed(start_of_file, source.read)
    return decompress.chunks(read, decompress.detect(start_of_file, compression))


class _Feeder:
    """Puts chunks into the ring, waiting for slots that were read."""

    def __init__(self, ring: mmap.mmap, link: int) -> None:
        self._ring = ring
        self._link = link
        self._slot = 0
        self._free = _SLOTS

    def put(self, chunk: bytes) -> None:
        if not self._free:
            if not os.read(self._link, 1):
                os._exit(1)
            self._free = 1
        self._free -= 1
        self._ring[self._slot : self._slot + len(chunk)] = chunk
        self._slot = (self._slot + _SLOT) % (_SLOTS * _SLOT)
        os.write(self._link, _LENGTH.pack(len(chunk)))


class _Digest:
    """Hashes chunks in a thread of its own."""

    def __init__(self) -> None:
        self._chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._room = threading.Semaphore(_QUEUED_CHUNKS)
        self._hash = hashlib.sha256()
        self._size = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, chunk: bytes) -> None:
        self._room.acquire()
        self._chunks.put(chunk)

    def finish(self) -> dict[str, Any]:
        """Return the diff ID and the size of all chunks."""
        self._chunks.put(b"")
        self._thread.join()
        return {"diff_id": f"sha256:{self._hash.hexdigest()}", "size": self._size}

    def _run(self) -> None:
        while chunk := self._chunks.get():
            self._hash.update(chunk)
            self._size += len(chunk)
            self._room.release()
