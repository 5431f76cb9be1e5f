"""Containers and what runs in them, as the client's methods."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from tricorn.client import calls
from tricorn.client.nouns import Noun
from tricorn.client.session import Session, open_session
from tricorn.client.stream import Stream, Work, line_of, open_stream, open_work
from tricorn.client.values import plain, value, values
from tricorn.model.health import HealthView
from tricorn.model.image_requests import CommitResult, ContainerCommit
from tricorn.model.requests import (
    Change,
    ContainerDesired,
    ContainerView,
    ExecRequest,
    ExecResult,
    ExitView,
    LimitsUpdate,
    LimitsView,
    LogLine,
    OperationView,
    WaitState,
    WaitView,
)
from tricorn.model.samples import ContainerSample, ProcessInfo


class Containers(Noun):
    async def commit(self, id: str, wanted: ContainerCommit) -> CommitResult:
        """Make an image of a container; cancelled with the caller."""
        return value(await self._pool.call(calls.commit_container(self._ns, id, plain(wanted))), CommitResult)

    def commit_work(
        self, id: str, wanted: ContainerCommit
    ) -> AbstractAsyncContextManager[Work[CommitResult]]:
        """Like `commit`, with the progress to iterate over."""
        call = calls.commit_container(self._ns, id, plain(wanted), stream=True)
        return open_work(self._pool, call, lambda raw: value(raw, CommitResult))

    async def list(self, filters: Sequence[str] = (), *, all: bool = True) -> list[ContainerView]:
        return values(await self._pool.call(calls.containers(self._ns, filters, all=all)), ContainerView)

    async def get(self, id: str) -> ContainerView:
        return value(await self._pool.call(calls.container(self._ns, id)), ContainerView)

    async def put(self, id: str, desired: ContainerDesired, *, plan: bool = False) -> Change:
        """Bring the container into the desired state; cancelled with the caller."""
        call = calls.put_container(self._ns, id, plain(desired), plan=plan)
        return value(await self._pool.call(call), Change)

    def put_work(self, id: str, desired: ContainerDesired) -> AbstractAsyncContextManager[Work[Change]]:
        """Like `put`, with the progress to iterate over."""
        call = calls.put_container(self._ns, id, plain(desired), stream=True)
        return open_work(self._pool, call, lambda raw: value(raw, Change))

    async def begin(self, id: str, desired: ContainerDesired) -> OperationView:
        """Like `put`, but return at once: the operation outlives the caller."""
        call = calls.put_container(self._ns, id, plain(desired), detach=True)
        return value(await self._pool.call(call), OperationView)

    async def create(self, desired: ContainerDesired, *, name: str = "") -> ContainerView:
        """Create a container; AlreadyExists if there is one of that name. Without one, one is made up."""
        call = calls.create_container(self._ns, plain(desired), name=name)
        return value(await self._pool.call(call), ContainerView)

    def create_work(
        self, desired: ContainerDesired, *, name: str = ""
    ) -> AbstractAsyncContextManager[Work[ContainerView]]:
        """Like `create`, with the progress to iterate over."""
        call = calls.create_container(self._ns, plain(desired), name=name, stream=True)
        return open_work(self._pool, call, lambda raw: value(raw, ContainerView))

    async def delete(
        self, id: str, *, force: bool = False, stop_timeout: float | None = None, plan: bool = False
    ) -> Change:
        call = calls.delete_container(self._ns, id, force=force, stop_timeout=stop_timeout, plan=plan)
        return value(await self._pool.call(call), Change)

    async def start(self, id: str) -> ContainerView:
        return await self._act(id, "start")

    async def stop(self, id: str, *, timeout: float | None = None) -> ContainerView:
        """Ask it to stop, kill it after `timeout` seconds (None: the container's own)."""
        return await self._act(id, "stop", {} if timeout is None else {"timeout": timeout})

    async def restart(self, id: str, *, timeout: float | None = None) -> ContainerView:
        """Stop it likewise, if it runs, and start it again."""
        return await self._act(id, "restart", {} if timeout is None else {"timeout": timeout})

    async def pause(self, id: str) -> ContainerView:
        return await self._act(id, "pause")

    async def resume(self, id: str) -> ContainerView:
        return await self._act(id, "resume")

    async def kill(self, id: str, signal: str = "SIGTERM", *, all: bool = False) -> None:
        await self._pool.call(calls.action(self._ns, id, "kill", {"signal": signal, "all": all}))

    async def resize(self, id: str, rows: int, columns: int) -> None:
        await self._pool.call(calls.action(self._ns, id, "resize", {"rows": rows, "columns": columns}))

    async def close_stdin(self, id: str) -> None:
        """End the container's standard input."""
        await self._pool.call(calls.action(self._ns, id, "close-stdin"))

    async def update(self, id: str, wanted: LimitsUpdate) -> LimitsView:
        """Change limits, of a running container at once; None keeps one, -1 takes it away."""
        return value(await self._pool.call(calls.action(self._ns, id, "update", plain(wanted))), LimitsView)

    async def wait(self, id: str) -> ExitView:
        """Wait for the exit, however long it takes."""
        return value(await self._pool.call(calls.wait(self._ns, id)), ExitView)

    async def wait_many(
        self,
        ids: Sequence[str],
        *,
        state: WaitState = "exited",
        any: bool = False,
        timeout: float | None = None,
    ) -> Sequence[WaitView]:
        """Wait until all (or with `any` one) of these containers have reached a state. DeadlineExceeded."""
        call = calls.wait_many(self._ns, ids, state=state, any=any, timeout=timeout)
        return values(await self._pool.call(call), WaitView)

    async def exec(self, id: str, request: ExecRequest) -> ExecResult:
        """Run a process to its end and return its output, at most 16 MiB per stream."""
        return value(await self._pool.call(calls.exec_(self._ns, id, plain(request))), ExecResult)

    def exec_session(self, id: str, request: ExecRequest) -> AbstractAsyncContextManager[Session]:
        """Run a process with its input and output streamed."""
        return open_session(self._pool, calls.exec_session(self._ns, id), plain(request))

    def attach(self, id: str, *, start: bool = False) -> AbstractAsyncContextManager[Session]:
        """Connect to the container's own input and output; with `start`, start it then: nothing is lost."""
        return open_session(self._pool, calls.attach(self._ns, id, start=start))

    def logs(
        self,
        id: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> AbstractAsyncContextManager[Stream[LogLine]]:
        """Give the lines that the container wrote; `since` and `until` are RFC 3339 times."""
        call = calls.logs(self._ns, id, follow=follow, tail=tail, since=since, until=until)
        return open_stream(self._pool, call, line_of(LogLine))

    async def stats(self, id: str) -> dict[str, Any]:
        return value(await self._pool.call(calls.stats(self._ns, id)), dict[str, Any])

    async def samples(
        self, names: Sequence[str] = (), *, everywhere: bool = False
    ) -> Sequence[ContainerSample]:
        """Return what the running containers (or those that are named) use now."""
        call = calls.samples(None if everywhere else self._ns, names)
        return values(await self._pool.call(call), ContainerSample)

    async def processes(self, id: str) -> Sequence[ProcessInfo]:
        """Return the processes of a running container, as the node sees them."""
        return values(await self._pool.call(calls.processes(self._ns, id)), ProcessInfo)

    async def health(self, id: str, *, wait: bool = False, timeout: float | None = None) -> HealthView:
        """Say how it fares; with `wait` once it is healthy. DeadlineExceeded after `timeout` seconds (60)."""
        call = calls.health(self._ns, id, wait=wait, timeout=timeout)
        return value(await self._pool.call(call), HealthView)

    async def pids(self, id: str) -> Sequence[int]:
        answer = value(await self._pool.call(calls.pids(self._ns, id)), dict[str, Any])
        return value(answer.get("pids"), list[int])

    async def _act(self, id: str, verb: str, body: dict[str, Any] | None = None) -> ContainerView:
        return value(await self._pool.call(calls.action(self._ns, id, verb, body)), ContainerView)
