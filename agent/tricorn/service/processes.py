"""Use cases of containerd's tasks service: a container's first process and its execs, as processes that
are created, started, waited for and deleted one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tricorn.model.processes import CgroupFiles, Deleted, ProcessView
from tricorn.model.records import Task
from tricorn.model.stdio import NULL_STDIO, Stdio
from tricorn.ports import Exit, FilesystemMount


class ProcessService(Protocol):
    """Processes of containers. `exec_id` "" means the container's first process.

    All raise NotFound for unknown containers, tasks and execs, FailedPrecondition where the state of the
    process forbids the call, AlreadyExists for an id that is taken.
    """

    async def create(
        self,
        namespace: str,
        container_id: str,
        *,
        rootfs: Sequence[FilesystemMount] = (),
        stdio: Stdio = NULL_STDIO,
        no_pivot_root: bool = False,
        runtime: str = "",
    ) -> Task:
        """Make a container's task from its stored spec; it is started by `start`.

        `rootfs` are the mounts of the root file system as the client prepared it (none: of the record's
        snapshot). AlreadyExists when there is a task, running or stopped.
        """
        ...

    async def start(self, namespace: str, container_id: str, exec_id: str = "") -> int:
        """Start a created process and return its pid on the host."""
        ...

    async def exec(
        self, namespace: str, container_id: str, exec_id: str, process: Mapping[str, Any], stdio: Stdio
    ) -> None:
        """Add a process (an OCI process object) to a running container; `start` starts it."""
        ...

    async def get(self, namespace: str, container_id: str, exec_id: str = "") -> ProcessView: ...

    async def wait(self, namespace: str, container_id: str, exec_id: str = "") -> Exit:
        """Return how the process ended, once it has."""
        ...

    async def kill(
        self, namespace: str, container_id: str, signal: int, *, exec_id: str = "", all: bool = False
    ) -> None:
        """Send a signal to the process, or with `all` to every process of the container."""
        ...

    async def delete(self, namespace: str, container_id: str, exec_id: str = "") -> Deleted:
        """Remove a stopped (or never started) process. The container's record and snapshot stay.
        FailedPrecondition while it runs.
        """
        ...

    async def pause(self, namespace: str, container_id: str) -> None: ...

    async def resume(self, namespace: str, container_id: str) -> None: ...

    async def resize(self, namespace: str, container_id: str, exec_id: str, width: int, height: int) -> None:
        """Tell the process's terminal its size, in characters."""
        ...

    async def close_io(self, namespace: str, container_id: str, exec_id: str, *, stdin: bool) -> None:
        """Close the process's stdin once what the client wrote to its FIFO has been handed over."""
        ...

    async def pids(self, namespace: str, container_id: str) -> list[tuple[int, str]]:
        """Return all processes of a container: pid on the host, exec id ("" where it isn't an exec's)."""
        ...

    async def update(
        self,
        namespace: str,
        container_id: str,
        resources: Mapping[str, Any],
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Change the limits of a running container: `resources` is OCI's `linux.resources`."""
        ...

    async def figures(self, namespace: str, container_id: str) -> CgroupFiles:
        """Return the raw figures of a container's control group."""
        ...

    async def list(self, namespace: str) -> list[ProcessView]:
        """Return the first processes of all tasks of the namespace."""
        ...
