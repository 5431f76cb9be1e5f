"""The agent's side of layer extraction: keeps the fork server and hands layers to its children."""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import structlog
import trio

from tricorn import limits
from tricorn.errors import InvalidArgument, Unavailable
from tricorn.fs.child_job import ChildJob
from tricorn.fs.failures import typed
from tricorn.fs.running_extraction import RunningExtraction
from tricorn.ports import WhiteoutFormat

log = structlog.get_logger(__name__)
J = TypeVar("J", bound=ChildJob)

_COMPRESSIONS: Final = frozenset({"", "gzip", "zstd"})
_PROGRAM: Final = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[2]); "
    "from tricorn.fs.extractor_child import serve; serve(int(sys.argv[1]))"
)
_SERVER_ATTEMPTS: Final = 2


class ExtractorPool:
    """Implements `ports.Extractor`. Owns the fork server between `__aenter__` and `__aexit__`.

    At most `limits.EXTRACTIONS_PARALLEL` layers are applied at a time; further `start`s wait. A server
    that died is started again by the next `start`. Layers of `filled_beside` bytes and more have their files
    filled by a process beside the one that makes them, from the entry after `filled_after` on.
    """

    def __init__(
        self,
        parallel: int = limits.EXTRACTIONS_PARALLEL,
        *,
        filled_beside: int = limits.FILLED_BESIDE,
        filled_after: int = limits.FILLED_AFTER,
    ) -> None:
        self._filled_beside, self._filled_after = filled_beside, filled_after
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
        self,
        source: str,
        target: str,
        compression: str,
        whiteouts: WhiteoutFormat = "overlay",
        *,
        size: int = 0,
    ) -> AsyncIterator[RunningExtraction]:
        """Begin to apply `source` to `target`; see `ports.Extractor`. Waits for a free place first."""
        if compression not in _COMPRESSIONS:
            raise InvalidArgument(f"unknown compression {compression!r}", field="compression")
        beside = self._filled_after if size >= self._filled_beside else None
        request = json.dumps({"compression": compression, "whiteouts": whiteouts, "beside": beside}).encode()
        async with self._limiter:
            extraction = await self._begin(lambda: RunningExtraction(source, target), request)
            try:
                self._started += 1
                yield extraction
                self._finished += extraction.done
            finally:
                await _end(extraction)

    @asynccontextmanager
    async def start_job(self, make: Callable[[], J], request: Mapping[str, Any]) -> AsyncIterator[J]:
        """Run another kind of job in a child of the server. `make` opens what the child is lent.

        Bounding how many run is up to the caller. Leaving the context kills the child.
        """
        job = await self._begin(make, json.dumps(request).encode())
        try:
            yield job
        finally:
            await _end(job)

    async def _begin(self, make: Callable[[], J], request: bytes) -> J:
        """Start a child; once more with a new server if the server turns out to be dead."""
        for _ in range(_SERVER_ATTEMPTS):
            job = make()
            begun = False
            try:
                server = await self._send(request, job)
                with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
                    begun = await job.started()  # whoever gives up has to know whom to end
                if begun:
                    return job
                await self._discard(server)
            finally:
                if not begun:
                    await _end(job)
        raise Unavailable("the extractor server does not stay up", hint="see the agent's log")

    async def _discard(self, server: trio.Process) -> None:
        """Drop a server that took a request and died, unless somebody else has done so."""
        async with self._lock:
            if self._server is server:
                await self._stop_server()

    async def _send(self, request: bytes, job: ChildJob) -> trio.Process:
        async with self._lock:
            if self._server is None or self._server.poll() is not None:
                await self._restart_server()
            assert self._control is not None
            assert self._server is not None
            rights = array.array("i", job.child_descriptors)
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


async def _end(job: ChildJob) -> None:
    with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
        await job.end()
