"""What the journal tells of tasks, in the field names of containerd's event messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tricorn.model.stdio import NULL_STDIO, Stdio
from tricorn.ports import Exit, FilesystemMount


def created(
    container: str, bundle: str, pid: int, rootfs: Sequence[FilesystemMount] = (), stdio: Stdio | None = None
) -> dict[str, Any]:
    """TaskCreate."""
    given = stdio or NULL_STDIO
    return {
        "container_id": container, "bundle": bundle,
        "rootfs": [
            {"type": mount.type, "source": mount.source, "options": list(mount.options)} for mount in rootfs
        ],
        "io": {
            "stdin": given.stdin, "stdout": given.stdout, "stderr": given.stderr, "terminal": given.terminal,
        },
        "checkpoint": "", "pid": pid,
    }  # fmt: skip


def exited(container: str, process: str, pid: int, end: Exit) -> dict[str, Any]:
    """TaskExit; `process` is the exec's id, or the container's."""
    return {
        "container_id": container, "id": process, "pid": pid,
        "exit_status": end.code, "exited_at": end.at.isoformat(),
    }  # fmt: skip


def deleted(container: str, pid: int, code: int, at: datetime) -> dict[str, Any]:
    """TaskDelete, of a container's first process."""
    return {
        "container_id": container, "pid": pid, "exit_status": code,
        "exited_at": at.isoformat(), "id": "",
    }  # fmt: skip


def exec_added(container: str, exec_id: str) -> dict[str, Any]:
    """TaskExecAdded."""
    return {"container_id": container, "exec_id": exec_id}


def exec_started(container: str, exec_id: str, pid: int) -> dict[str, Any]:
    """TaskExecStarted."""
    return {"container_id": container, "exec_id": exec_id, "pid": pid}
