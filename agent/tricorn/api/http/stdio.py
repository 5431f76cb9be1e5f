"""Exec and attach over the frame protocol: a process's stdio on one side, a client on the other."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import structlog
import trio

from tricorn import limits
from tricorn.api.http.bodies import ResizeRequest, SignalRequest
from tricorn.api.http.codec import encode
from tricorn.api.http.replies import Channel
from tricorn.api.http.routing import Call
from tricorn.errors import InvalidArgument, TricornError
from tricorn.frames import Frame, FrameKind, encode_document, encode_stream
from tricorn.frames import encode as encode_frame
from tricorn.model.requests import ExecRequest, ExitView, KillRequest
from tricorn.ports import ExecSession, StdioStream, StreamKind
from tricorn.structuring import structure

log = structlog.get_logger(__name__)
_TIMED_OUT: Final = 124
_KINDS: Final = {"stdout": FrameKind.STDOUT, "stderr": FrameKind.STDERR}
Kill = Callable[[str], Awaitable[None]]


async def run_exec(call: Call, channel: Channel, opened: Callable[[ExecRequest], None]) -> None:
    """Serve one exec: its first frame is the request. The client's leaving kills the process."""
    await channel.accept()
    first = await channel.receive()
    if first is None or first.kind is not FrameKind.EXEC:
        raise InvalidArgument("the first frame of an exec must be the ExecRequest", why="a frame of kind 9")
    request = structure(first.document(), ExecRequest, "the exec request")
    opened(request)
    tasks = call.services.tasks
    async with tasks.exec_session(call.namespace, call.path["id"], request) as session:

        async def ended() -> ExitView:
            return await _end_in_time(session, request.timeout)

        async def kill(name: str) -> None:
            from tricorn.service.tasks import signal_number

            await session.kill(signal_number(name))

        await channel.send(encode_document(FrameKind.STARTED, {"pid": session.pid}))
        end = await _Session(channel, session, kill).run(ended)
    await channel.send(encode_frame(FrameKind.EXIT, encode(end)))


async def _end_in_time(session: ExecSession, timeout: float) -> ExitView:
    """Return the process's end; after `timeout` seconds (0: never) it is killed, and exits as timeout(1)."""
    with trio.move_on_after(timeout or float("inf")):
        end = await session.wait()
        return ExitView(end.code, end.at, end.note)
    await session.kill(signal.SIGKILL)
    end = await session.wait()
    return ExitView(_TIMED_OUT, end.at, f"killed after {timeout:g} seconds")


async def run_attach(call: Call, channel: Channel) -> None:
    """Serve one attach to a container's own stdio. The client's leaving detaches it."""
    container, tasks = call.path["id"], call.services.tasks
    async with tasks.attach(call.namespace, container, start=call.query["start"]) as stream:
        view = await call.services.containers.get(call.namespace, container)

        async def ended() -> ExitView:
            return await tasks.wait(call.namespace, container)

        async def kill(name: str) -> None:
            await tasks.kill(call.namespace, container, KillRequest(name))

        await channel.accept()
        await channel.send(encode_document(FrameKind.STARTED, {"pid": view.task.pid if view.task else 0}))
        end = await _Session(channel, stream, kill, shared=True).run(ended)
    await channel.send(encode_frame(FrameKind.EXIT, encode(end)))


async def run_attach_exec(call: Call, channel: Channel) -> None:
    """Serve one attach to an exec that goes on without it. The client's leaving detaches it."""
    where, execs = (call.namespace, call.path["id"], call.path["exec"]), call.services.execs
    view = await execs.get(*where)
    async with execs.attach(*where, replay=call.query["replay"]) as stream:

        async def ended() -> ExitView:
            return await execs.wait(*where)

        async def kill(name: str) -> None:
            await execs.kill(*where, KillRequest(name))

        await channel.accept()
        await channel.send(encode_document(FrameKind.STARTED, {"pid": view.pid}))
        end = await _Session(channel, stream, kill, shared=True).run(ended)
    await channel.send(encode_frame(FrameKind.EXIT, encode(end)))


class _Session:
    """Carries stdio both ways until the process has ended and its output is out. Where it is `shared` with
    other clients, one that leaves doesn't end the process's input: that takes a frame.
    """

    def __init__(self, channel: Channel, stdio: StdioStream, kill: Kill, *, shared: bool = False) -> None:
        self._shared = shared
        self._channel = channel
        self._stdio = stdio
        self._kill = kill
        self._drain_until = float("inf")
        self._reading: trio.CancelScope | None = None
        self._output_done = trio.Event()

    async def run(self, ended: Callable[[], Awaitable[ExitView]]) -> ExitView:
        """Return the process's end. Raises what `ended` or a malformed frame raises."""
        failure: TricornError | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._input)
                nursery.start_soon(self._output)
                end = await ended()
                self._expire()
                await self._output_done.wait()
                nursery.cancel_scope.cancel()
        except* TricornError as group:
            failure = _first(group)
        if failure is not None:
            raise failure
        return end

    def _expire(self) -> None:
        """Writers that the process left behind may hold its output open: give them a little while."""
        self._drain_until = trio.current_time() + limits.EXEC_DRAIN
        if self._reading is not None:
            self._reading.deadline = self._drain_until

    async def _output(self) -> None:
        source = aiter(self._stdio)
        while (item := await self._read(source)) is not None:
            kind, data = item
            for frame in encode_stream(_KINDS[kind], data):
                await self._channel.send(frame)  # outside of the reading scope: never half a frame
        self._output_done.set()

    async def _read(self, source: AsyncIterator[tuple[StreamKind, bytes]]) -> tuple[StreamKind, bytes] | None:
        with trio.CancelScope(deadline=self._drain_until) as self._reading:
            return await anext(source, None)
        log.info("output held open after the exit", seconds=limits.EXEC_DRAIN)
        return None

    async def _input(self) -> None:
        while (frame := await self._channel.receive()) is not None:
            await self._take(frame)
        if not self._shared:
            await self._to_stdin(self._stdio.close_stdin())

    async def _take(self, frame: Frame) -> None:
        match frame.kind:
            case FrameKind.STDIN:
                await self._to_stdin(self._stdio.send(frame.payload))
            case FrameKind.STDIN_CLOSED:
                await self._to_stdin(self._stdio.close_stdin())
            case FrameKind.RESIZE:
                size = structure(frame.document(), ResizeRequest, "the resize frame")
                await self._to_stdin(self._stdio.resize(size.rows, size.columns))
            case FrameKind.SIGNAL:
                await self._kill(structure(frame.document(), SignalRequest, "the signal frame").signal)
            case _:
                raise InvalidArgument(f"a frame of kind {frame.kind.name} has no place in a running session")

    async def _to_stdin(self, action: Awaitable[None]) -> None:
        """A process that has closed its stdin or ended doesn't end the session: its exit is to come."""
        try:
            await action
        except (TricornError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            log.debug("stdin refused", why=str(error))


def _first(group: BaseExceptionGroup[TricornError]) -> TricornError:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("an exception group is never empty")
