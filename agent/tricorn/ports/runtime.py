"""Containers and their processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

from tricorn.model.execs import KeptExec
from tricorn.model.processes import CgroupFiles
from tricorn.model.records import ProcessIdentity
from tricorn.model.requests import LogLine
from tricorn.model.samples import CgroupSample, ProcessInfo
from tricorn.model.stdio import Stdio
from tricorn.ports.processes import BundleRef, Created, ExecSession, Exit, FoundExec, RuntimeInfo, StdioStream


class Runtime(Protocol):
    async def capabilities(self) -> dict[str, RuntimeInfo]:
        """Probe (once, cached) every configured runtime; the default choice has feature `default`."""
        ...

    def expect_process(self) -> None:
        """A container or exec is likely to be created within some 10 ms: what can be made ready, is."""
        ...

    def ahead(self, ref: BundleRef) -> AbstractAsyncContextManager[None]:
        """Have the monitor of a container with a client's stdio start and wait for `create` within the
        context. Only the bundle's directory has to be there; leaving without `create` leaves nothing.
        """
        ...

    async def create(self, ref: BundleRef) -> Created:
        """Start the monitor, which creates the container from `bundle/config.json` (already written, its
        rootfs already mounted). On failure nothing is left behind; the runtime's own words are in `why`.
        """
        ...

    async def start(self, ref: BundleRef) -> None: ...

    async def kill(self, ref: BundleRef, init: ProcessIdentity, signal: int, *, all: bool = False) -> None:
        """NotFound when the process is gone."""
        ...

    async def wait(self, ref: BundleRef, created: Created) -> Exit:
        """Wait for the end; returns at once, rightly, for one that ended while no agent ran."""
        ...

    async def delete(self, ref: BundleRef, created: Created | None) -> None:
        """Force the container, its monitor, its cgroup and its execs away. Idempotent; `created` None
        after a crash: whatever of it the bundle directory tells of is removed.
        """
        ...

    async def recover_created(self, ref: BundleRef) -> Created | None:
        """After a crash in `create`: what the sync FIFO and pid files tell, or None."""
        ...

    def attach(self, ref: BundleRef) -> AbstractAsyncContextManager[StdioStream]: ...

    def exec(
        self, ref: BundleRef, exec_id: str, process: Mapping[str, Any], *, terminal: bool, stdin: bool
    ) -> AbstractAsyncContextManager[ExecSession]:
        """Run an OCI process object in the container. Leaving the context early kills the process."""
        ...

    def logs(
        self,
        ref: BundleRef,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[LogLine]:
        """Yield the log lines, partial records joined, over rotated files; with `follow` until the
        container ended and all is read, or it is `until`. `tail` counts what is there now and not later
        than `until`.
        """
        ...

    async def rotate_logs(self, ref: BundleRef) -> bool:
        """Rotate if the log is over its size. Return whether it did."""
        ...

    async def resize(self, ref: BundleRef, rows: int, columns: int) -> None: ...

    # Processes with the stdio of a client of containerd's API
    async def reconnect(self, ref: BundleRef, created: Created) -> list[FoundExec]:
        """After a restart of the agent: go on with the stdio of `ref.stdio` and of the execs that clients had
        started, which are returned, ended or not; end those that were sessions of the agent before.
        """
        ...

    async def note_exec_told(self, ref: BundleRef, exec_id: str) -> None:
        """Remember, for an agent after this one, that the end of an exec is in the journal."""
        ...

    async def start_exec(
        self, ref: BundleRef, exec_id: str, process: Mapping[str, Any], stdio: Stdio
    ) -> Created:
        """Run an OCI process object in the container; it is on its own until `remove_exec`.

        InvalidArgument when the command can't be executed, FailedPrecondition with the runtime's words;
        then nothing of it is left.
        """
        ...

    async def wait_exec(self, ref: BundleRef, exec_id: str, created: Created) -> Exit: ...

    async def kill_exec(self, ref: BundleRef, created: Created, signal: int) -> None:
        """NotFound when the process is gone."""
        ...

    async def remove_exec(self, ref: BundleRef, exec_id: str) -> None:
        """Make sure that the process is gone, and with it all that is left of it. Idempotent."""
        ...

    async def resize_exec(self, created: Created, rows: int, columns: int) -> None: ...

    # Execs whose output is logged: they need no client
    async def start_kept_exec(
        self, ref: BundleRef, exec_id: str, process: Mapping[str, Any], kept: KeptExec
    ) -> Created:
        """As `start_exec`, with the output in a log of its own, which goes with `remove_exec`."""
        ...

    def attach_exec(
        self, ref: BundleRef, exec_id: str, created: Created, kept: KeptExec, *, replay: bool = False
    ) -> AbstractAsyncContextManager[StdioStream]:
        """Connect to its stdio, with `replay` from the beginning of what is kept of its output. Of one that
        has ended the output ends at once.
        """
        ...

    def exec_logs(
        self,
        ref: BundleRef,
        exec_id: str,
        kept: KeptExec,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[LogLine]:
        """As `logs`."""
        ...

    async def rotate_exec_log(self, ref: BundleRef, exec_id: str, kept: KeptExec) -> bool:
        """As `rotate_logs`."""
        ...

    async def end_stdin(self, ref: BundleRef, exec_id: str, created: Created) -> None:
        """Close stdin of the container's first process (`exec_id` "") or of an exec, once what the client
        has written is handed over. No error where there is none.
        """
        ...

    async def update(self, ref: BundleRef, resources: Mapping[str, Any]) -> None:
        """Change the limits of a running container to OCI's `linux.resources`; InvalidArgument with the
        runtime's words.
        """
        ...

    async def cgroup_files(self, ref: BundleRef) -> CgroupFiles:
        """Return the raw text of the accounting files. NotFound when the container has no control group."""
        ...

    async def pause(self, ref: BundleRef) -> None:
        """Freeze all processes through the cgroup; idempotent."""
        ...

    async def resume(self, ref: BundleRef) -> None: ...

    async def pids(self, ref: BundleRef) -> list[int]: ...

    async def sample(
        self, targets: Sequence[tuple[BundleRef, ProcessIdentity | None]]
    ) -> list[CgroupSample | None]:
        """Return what containers use now, each with its first process; None for one that is gone."""
        ...

    async def oom_kills(self, refs: Sequence[BundleRef]) -> list[int]:
        """Return how many processes of each container the kernel killed for want of memory."""
        ...

    async def processes(self, ref: BundleRef) -> list[ProcessInfo]:
        """Return what /proc tells of the container's processes."""
        ...

    async def stats(self, ref: BundleRef) -> dict[str, float]:
        """Figures of the cgroup files: `cpu_seconds`, `memory_bytes`, `pids` and more where known."""
        ...
