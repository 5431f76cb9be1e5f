"""The fork server of layer extractors, and the extractor itself.

The agent starts `serve` once, while it is small; forking from here stays cheap for ever. Each request
is a message with four descriptors (source file, target directory, progress pipe, result socket) and the
child that is forked for it is locked into the target before it reads a byte of the layer. A request with
`job` is work of another kind: `diff_child` says what its descriptors are. Nothing here may import trio,
attrs or structlog: what this process holds, every extractor holds.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import queue
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from tricorn.errors import DataLoss, Internal, ResourceExhausted, TricornError
from tricorn.fs import confine, decompress, diff_child, repack_child, seccomp
from tricorn.fs.archive import LayerApplier
from tricorn.fs.entrychecks import in_user_namespace
from tricorn.fs.tarstream import TarStream

COMPLETE: Final = 1 << 63  # set in an offset: the source ends there
OFFSET: Final = struct.Struct("=Q")
PACKET: Final = 65536  # of a result, which may take several
_QUEUED_CHUNKS: Final = 4
_REQUEST_SIZE: Final = 65536
_DESCRIPTORS: Final = 4

_confined_user = False

_CAPABILITIES: Final = frozenset({
    confine.CHOWN, confine.DAC_OVERRIDE, confine.FOWNER, confine.FSETID, confine.MKNOD, confine.SETFCAP,
})  # fmt: skip


# ------------------------------------------------------------------ the server
def serve(control: int) -> None:
    """Fork an extractor for each request on the socket `control`, until its other end is closed."""
    requests = socket.socket(fileno=control)
    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the agent's affair
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    confine.name_process(b"tricorn-unpack")
    os.umask(0)
    _warm_up()
    poller = select.poll()
    poller.register(requests, select.POLLIN)
    poller.register(wake_read, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poller.poll()}
        if wake_read in ready:
            os.read(wake_read, 4096)
            _reap()
        if requests.fileno() in ready and not _take_request(requests):
            return  # the children follow by their parent-death signal


def _warm_up() -> None:
    """Load what an extractor will need: it has no file system to import from."""
    json.loads(json.dumps({"codec": "warm"}))
    "ä".encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    hashlib.sha256(b"").hexdigest()
    global _confined_user  # noqa: PLW0603 - asked once, while there is a /proc
    _confined_user = in_user_namespace()
    gc.collect()
    gc.freeze()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _take_request(requests: socket.socket) -> bool:
    message, descriptors, _, _ = socket.recv_fds(requests, _REQUEST_SIZE, _DESCRIPTORS)
    if not message:
        return False
    try:
        if len(descriptors) == _DESCRIPTORS:
            _fork(json.loads(message), descriptors)
    finally:
        for fd in descriptors:
            os.close(fd)
    return True


def _fork(request: dict[str, Any], descriptors: list[int]) -> None:
    server = os.getpid()
    pid = os.fork()
    if not pid:
        _extractor(request, descriptors, server)
    pidfd = os.pidfd_open(pid)
    try:
        with socket.socket(fileno=os.dup(descriptors[3])) as result:
            socket.send_fds(result, [b"started"], [pidfd], socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
    except OSError:
        os.kill(pid, signal.SIGKILL)  # nobody waits for it any more
    finally:
        os.close(pidfd)


# ------------------------------------------------------------------ one extractor
def _extractor(request: dict[str, Any], descriptors: list[int], server: int) -> NoReturn:
    status = 1
    try:
        confine.die_with_parent(server)
        source, target, progress, result = _keep_only(descriptors)
        answer = _answer(request, source, target, progress)
        _send(result, json.dumps(answer).encode())
        status = 0
    finally:
        os._exit(status)  # neither the server's clean-up nor its frames are this process's


def _keep_only(descriptors: list[int]) -> list[int]:
    """Close all but the standard streams (on /dev/null) and the request's descriptors."""
    signal.set_wakeup_fd(-1)
    null = os.open(os.devnull, os.O_RDWR)
    high = [os.dup2(fd, 100 + index) for index, fd in enumerate((null, null, null, *descriptors))]
    low = [os.dup2(fd, index, inheritable=False) for index, fd in enumerate(high)]
    os.closerange(len(low), os.sysconf("SC_OPEN_MAX"))
    return low[3:]


def _answer(request: dict[str, Any], source: int, target: int, progress: int) -> dict[str, Any]:
    try:
        if request.get("job") == "diff":
            return diff_child.answer(request, source, target, progress)
        if request.get("job") == "repack":
            return repack_child.answer(request, source, target, progress)
        form = request["whiteouts"]
        confine.enter_root(target)
        confine.limit_resources()
        confine.forbid_tracing()
        # Only the opaque mark, a `trusted.` attribute, takes this wide a capability.
        more = {confine.SYS_ADMIN} if form == "overlay" else set()
        confine.keep_capabilities(_CAPABILITIES | more)
        seccomp.install()
        return extract(Source(source, progress), target, request["compression"], form)
    except TricornError as error:
        return {"error": error.problem()}
    except MemoryError:
        return {"error": ResourceExhausted("the layer takes too much memory").problem()}
    except Exception as error:  # noqa: BLE001 - the one place where a defect can be told to the agent
        return {"error": Internal("the layer extractor failed", why=_where(error)).problem()}


def _where(error: Exception) -> str:
    """Describe a defect without the traceback module, which would read source files."""
    frame, line = error.__traceback__, 0
    name = ""
    while frame is not None:
        name, line = frame.tb_frame.f_code.co_name, frame.tb_lineno
        frame = frame.tb_next
    return f"{type(error).__name__}: {error} (in {name}, line {line})"


def _send(result: int, data: bytes) -> None:
    for start in range(0, len(data), PACKET):
        os.write(result, data[start : start + PACKET])


class Source:
    """The growing file: reads up to the offset that the agent has told, and waits for more.

    The descriptor's own file position is the progress that the agent sees, since it shares it.
    """

    def __init__(self, fd: int, progress: int) -> None:
        self._fd = fd
        self._progress = progress
        self._position = os.lseek(fd, 0, os.SEEK_CUR)
        self._valid = 0
        self._complete = False
        self._partial = b""

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes, b"" at the end. Ends the process when the agent is gone."""
        while self._position >= self._valid:
            if self._complete:
                return b""
            self._wait()
        data = os.read(self._fd, min(count, self._valid - self._position))
        if not data:
            raise DataLoss("the layer's file is shorter than announced", why=f"{self._position} bytes")
        self._position += len(data)
        return data

    def _wait(self) -> None:
        data = self._partial + os.read(self._progress, 65536 - len(self._partial))
        if len(data) == len(self._partial):
            os._exit(1)  # the agent died or gave up: nobody wants the result
        whole = len(data) - len(data) % OFFSET.size
        self._partial = data[whole:]
        for (offset,) in OFFSET.iter_unpack(data[:whole]):
            if offset & COMPLETE:
                self._complete = True
            self._valid = max(self._valid, offset & ~COMPLETE)


def extract(source: Source, target: int, compression: str, form: Any) -> dict[str, Any]:
    """Apply the layer in `source` to the directory `target` and return the result as a document.

    Three threads share the work: one decompresses, one hashes, this one writes files.
    """
    gc.disable()
    pipeline = Pipeline(source, compression)
    pipeline.start()
    applier = LayerApplier(target, form, skip_devices=_confined_user)
    stream = TarStream(pipeline.chunks())
    applier.run(stream)
    stream.drain()
    diff_id, size = pipeline.finish()
    return {
        "diff_id": diff_id,
        "size": size,
        "entries": stream.entries,
        "warnings": applier.warnings,
        "implied": [os.fsdecode(name) for name in applier.implied],
    }


class Pipeline:
    """Decompresses and hashes in threads of its own; `chunks` yields the tar's bytes."""

    def __init__(self, source: Source, compression: str) -> None:
        self._source = source
        self._compression = compression
        self._to_apply: queue.Queue[bytes] = queue.Queue(_QUEUED_CHUNKS)
        self._to_hash: queue.Queue[bytes] = queue.Queue(_QUEUED_CHUNKS)
        self._failure: BaseException | None = None
        self._hash = hashlib.sha256()
        self._size = 0
        self._threads = [
            threading.Thread(target=self._decompress, daemon=True),
            threading.Thread(target=self._digest, daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def chunks(self) -> Iterator[bytes]:
        """Yield the decompressed chunks. Raises what decompression met."""
        while chunk := self._to_apply.get():
            yield chunk
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def finish(self) -> tuple[str, int]:
        """Return the diff ID and the size of the whole tar, once `chunks` has ended."""
        for thread in self._threads:
            thread.join()
        self._raise_failure()
        return f"sha256:{self._hash.hexdigest()}", self._size

    def _decompress(self) -> None:
        try:
            start = self._source.read(decompress.DETECT_SIZE)
            while len(start) < decompress.DETECT_SIZE and (more := self._source.read(512)):
                start += more
            read = decompress.prefixed(start, self._source.read)
            for chunk in decompress.chunks(read, decompress.detect(start, self._compression)):
                self._to_apply.put(chunk)
                self._to_hash.put(chunk)
        except BaseException as error:  # noqa: BLE001 - carried over to the thread that reports
            self._failure = error
        self._to_apply.put(b"")
        self._to_hash.put(b"")

    def _digest(self) -> None:
        while chunk := self._to_hash.get():
            self._hash.update(chunk)
            self._size += len(chunk)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
