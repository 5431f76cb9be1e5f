"""Processes of containers as clients of the tasks service see them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import Factory, frozen

from tricorn.model.records import TaskStatus
from tricorn.model.stdio import NULL_STDIO, Stdio


@frozen
class ProcessView:
    """A container's first process (`exec_id` "") or an exec. `pid` 0 before an exec is started;
    `exit_code` and `exited_at` tell of stopped ones only (128 + n for signal n).
    """

    container: str
    status: TaskStatus
    exec_id: str = ""
    pid: int = 0
    stdio: Stdio = NULL_STDIO
    exit_code: int = 0
    exited_at: datetime | None = None

    @property
    def id(self) -> str:
        """How containerd names it: the exec's id, or the container's."""
        return self.exec_id or self.container


@frozen
class Deleted:
    """How a process that was deleted had ended."""

    pid: int
    exit_code: int
    exited_at: datetime | None


@frozen
class CgroupFiles:
    """The accounting files of a container's control group: `version` 1 or 2 of cgroups, `files` the text of
    each file by its kernel name (`memory.stat`, `cpuacct.usage`, `pids.current`, `hugetlb.2MB.max`), of
    every controller in one mapping. Files that this host hasn't are left out.
    """

    version: int
    files: Mapping[str, str] = Factory(dict)
