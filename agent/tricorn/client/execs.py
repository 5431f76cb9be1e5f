"""Execs that go on without a client: the client's methods."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from tricorn.client import exec_calls as calls
from tricorn.client.nouns import Noun
from tricorn.client.session import Session, open_session
from tricorn.client.stream import Stream, line_of, open_stream
from tricorn.client.values import plain, value, values
from tricorn.model.execs import ExecStart, ExecView
from tricorn.model.requests import ExitView, LogLine


class Execs(Noun):
    """Processes in containers that outlive their clients and the agent; each by its container and id."""

    async def start(self, container: str, wanted: ExecStart) -> ExecView:
        """Run a process in a running container, and return at once."""
        return value(await self._pool.call(calls.start_exec(self._ns, container, plain(wanted))), ExecView)

    async def list(self, container: str) -> Sequence[ExecView]:
        return values(await self._pool.call(calls.execs(self._ns, container)), ExecView)

    async def get(self, container: str, id: str) -> ExecView:
        return value(await self._pool.call(calls.exec_of(self._ns, container, id)), ExecView)

    async def wait(self, container: str, id: str) -> ExitView:
        """Return how it ended, once it has."""
        return value(await self._pool.call(calls.wait_exec(self._ns, container, id)), ExitView)

    async def kill(self, container: str, id: str, signal: str = "SIGKILL") -> None:
        body = {"signal": signal}
        await self._pool.call(calls.exec_action(self._ns, container, id, "kill", body))

    async def resize(self, container: str, id: str, rows: int, columns: int) -> None:
        body = {"rows": rows, "columns": columns}
        await self._pool.call(calls.exec_action(self._ns, container, id, "resize", body))

    async def close_stdin(self, container: str, id: str) -> None:
        """Let it see the end of its input."""
        await self._pool.call(calls.exec_action(self._ns, container, id, "close-stdin"))

    async def remove(self, container: str, id: str, *, force: bool = False) -> None:
        """Forget an ended one and its log; with `force` one that runs is killed first."""
        await self._pool.call(calls.remove_exec(self._ns, container, id, force=force))

    def attach(
        self, container: str, id: str, *, replay: bool = False
    ) -> AbstractAsyncContextManager[Session]:
        """Join it, with `replay` from the beginning of what is kept of its output; leaving detaches."""
        return open_session(self._pool, calls.attach_exec(self._ns, container, id, replay=replay))

    def logs(
        self,
        container: str,
        id: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> AbstractAsyncContextManager[Stream[LogLine]]:
        """Give the lines that it wrote; `since` and `until` are RFC 3339 times."""
        call = calls.exec_logs(self._ns, container, id, follow=follow, tail=tail, since=since, until=until)
        return open_stream(self._pool, call, line_of(LogLine))
