"""What the runtime tells of containers and their processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Literal, Protocol

from attrs import frozen

from tricorn.model.checkpoints import RestorePlan
from tricorn.model.execs import KeptExec
from tricorn.model.records import ProcessIdentity
from tricorn.model.stdio import Stdio


@frozen
class BundleRef:
    """Where a container lives on the node: `bundle` in the state dir (config.json, rootfs, sockets),
    `log` the log file in the root dir. With `stdio` there is no log: the client has the streams.
    """

    namespace: str
    id: str
    bundle: str
    log: str
    runtime: str  # a name that `capabilities` lists
    terminal: bool = False
    stdin: bool = False
    log_size: int = 0
    log_files: int = 0
    stdio: Stdio | None = None
    no_pivot: bool = False  # for root file systems that pivot_root can't leave
    restore: RestorePlan | None = None  # what `create` restores in place of making a new process


@frozen
class Created:
    init: ProcessIdentity
    monitor: ProcessIdentity


@frozen
class Exit:
    """`code` is 128 + n for signal n; `note` is "" when the code is the process's own."""

    code: int
    at: datetime
    oom_killed: bool = False
    note: str = ""
    oom_kills: int = 0  # as the kernel counts them; 0 where it doesn't


@frozen
class FoundExec:
    """An exec that an earlier agent started; `told` is whether its end is in the journal. One that is `kept`
    has its log, the others have the stdio of a client.
    """

    id: str
    created: Created
    stdio: Stdio
    told: bool = False
    kept: KeptExec | None = None


StreamKind = Literal["stdout", "stderr"]


class StdioStream(Protocol):
    """A live connection to a process's stdio."""

    def __aiter__(self) -> AsyncIterator[tuple[StreamKind, bytes]]:
        """Yield output as it comes; ends when the process's output is closed."""
        ...

    async def send(self, data: bytes) -> None:
        """Write to the process's stdin."""
        ...

    async def close_stdin(self) -> None: ...

    async def resize(self, rows: int, columns: int) -> None: ...


class ExecSession(StdioStream, Protocol):
    @property
    def pid(self) -> int: ...

    async def wait(self) -> Exit: ...

    async def kill(self, signal: int) -> None: ...


@frozen
class RuntimeInfo:
    """One runtime binary and what it can do here; `reason` says why `usable` is false."""

    name: str
    path: str
    version: str = ""
    usable: bool = True
    reason: str = ""
    features: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    flavour: str = ""  # which program it really is, as it says itself: crun, runc, …


class ProcessStreams(Protocol):
    """Streams that clients opened with the streaming service, as pipes for a process's stdio."""

    def check(self, namespace: str, id: str) -> None:
        """NotFound unless a client has the stream open, FailedPrecondition if a process has it already."""
        ...

    def output(self, namespace: str, id: str) -> int:
        """Return the writing end of a pipe (the caller closes it). What is written goes to the client that
        has the stream open, at the client's pace, and nowhere while none has.
        """
        ...

    def input(self, namespace: str, id: str, ended: Callable[[], None]) -> tuple[int, int]:
        """Return the reading end of a pipe and a writing end that keeps it from its end of file; the caller
        closes both. `ended` is called once all is written that the client sent before it ended the stream;
        a client that went away without that may come back.
        """
        ...
