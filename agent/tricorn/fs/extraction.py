"""The agent's side of layer extraction: keeps the fork server and hands layers to its children."""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self

import structlog
import trio

from tricorn import errors, limits
from tricorn.errors import Internal, InvalidArgument, TricornError, Unavailable
from tricorn.fs.failures import typed
from tricorn.model.ids import Digest
from tricorn.ports import ExtractResult, WhiteoutFormat

log = structlog.get_logger(__name__)

_COMPLETE: Final = 1 << 63
_COMPRESSIONS: Final = frozenset({"", "gzip", "zstd"})
_PACKET: Final = 65536
_PROGRAM: Final = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[2]); "
    "from tricorn.fs.extractor_child import serve; serve(int(sys.argv[1]))"
)
_SERVER_ATTEMPTS: Final = 2


class ExtractorPool:
    """Implements `ports.Extractor`. Owns the fork server between `__aenter__` and `__aexit__`.

    At most `limits.EXTRACTIONS_PARALLEL` layers are applied at a time; further `start`s wait. A server
    that died is started again by the next `start`.
    """

    def __init__(self, parallel: int = limits.EXTRACTIONS_PARALLEL) -> None:
        self._limiter = trio.CapacityLimiter(parallel)
        self._lock = trio.Lock()
        self._server: trio.Process | None = None
        self._control: trio.socket.SocketType | None = None
        self._started = self._finished = self._restarts = 0

    async def __aenter__(self) -> Self:
        async with self._lock:
            await self._start_server()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
            await self._stop_server()

    def statistics(self) -> dict[str, int]:
        """Figures since the start: extractions started, finished well, under way, waiting; restarts."""
        figures = self._limiter.statistics()
        return {
            "running": int(figures.borrowed_tokens),
            "waiting": figures.tasks_waiting,
            "started": self._started,
            "finished": self._finished,
            "server_restarts": self._restarts,
        }

    @asynccontextmanager
    async def start(
        self, source: str, target: str, compression: str, whiteouts: WhiteoutFormat = "overlay"
    ) -> AsyncIterator[RunningExtraction]:
        """Begin to apply `source` to `target`; see `ports.Extractor`. Waits for a free place first."""
        if compression not in _COMPRESSIONS:
            raise InvalidArgument(f"unknown compression {compression!r}", field="compression")
        request = json.dumps({"compression": compression, "whiteouts": whiteouts}).encode()
        async with self._limiter:
            extraction = await self._begin(source, target, request)
            try:
                self._started += 1
                yield extraction
                self._finished += extraction.done
            finally:
                await _end(extraction)

    async def _begin(self, source: str, target: str, request: bytes) -> RunningExtraction:
        """Start a child; once more with a new server if the server turns out to be dead."""
        for _ in range(_SERVER_ATTEMPTS):
            extraction = RunningExtraction(source, target)
            begun = False
            try:
                server = await self._send(request, extraction)
                begun = await extraction.started()
                if begun:
                    return extraction
                await self._discard(server)
            finally:
                if not begun:
                    await _end(extraction)
        raise Unavailable("the extractor server does not stay up", hint="see the agent's log")

    async def _discard(self, server: trio.Process) -> None:
        """Drop a server that took a request and died, unless somebody else has done so."""
        async with self._lock:
            if self._server is server:
                await self._stop_server()

    async def _send(self, request: bytes, extraction: RunningExtraction) -> trio.Process:
        async with self._lock:
            if self._server is None or self._server.poll() is not None:
                await self._restart_server()
            assert self._control is not None
            assert self._server is not None
            rights = array.array("i", extraction.child_descriptors)
            # A server that is just dying shows by the answer that never comes.
            with suppress(BrokenPipeError, ConnectionResetError):
                await self._control.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            return self._server

    async def _restart_server(self) -> None:
        code = self._server.returncode if self._server else None
        log.warning("extractor server restarted", exit_code=code)
        self._restarts += 1
        await self._stop_server()
        await self._start_server()

    async def _start_server(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._server = await trio.lowlevel.open_process(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    "-B",
                    "-c",
                    _PROGRAM,
                    str(theirs.fileno()),
                    json.dumps(sys.path),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                cwd="/",
            )
        except OSError as error:
            ours.close()
            raise typed(error, "cannot start the extractor server") from error
        finally:
            theirs.close()
        self._control = trio.socket.from_stdlib_socket(ours)
        log.debug("extractor server started", pid=self._server.pid)

    async def _stop_server(self) -> None:
        """Close the server's socket: it ends, and its children with it."""
        server, self._server = self._server, None
        if self._control is not None:
            self._control.close()
            self._control = None
        if server is None:
            return
        with trio.move_on_after(1):
            await server.wait()
        if server.poll() is None:
            server.kill()
            await server.wait()


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


async def _end(extraction: RunningExtraction) -> None:
    with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
        await extraction.end()


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
