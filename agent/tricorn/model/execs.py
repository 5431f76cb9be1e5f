"""Execs that go on without a client: what is asked for, kept on the node and shown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import Factory, frozen

from tricorn.model.records import TaskStatus


@frozen
class ExecStart:
    """Body of `POST …/containers/{id}/execs`; `user`, `cwd` and `env` default to the container's. An `id` is
    made up when none is given. With `stdin` the process's input stays open until it is closed by a call,
    whoever attaches and leaves; without, it has none.
    """

    args: tuple[str, ...]
    id: str = ""
    env: Mapping[str, str] = Factory(dict)
    cwd: str = ""
    user: str = ""
    terminal: bool = False
    stdin: bool = False
    privileged: bool = False


@frozen
class KeptExec:
    """What is remembered of such an exec for the next agent. Its output goes to a log of `log_files` files of
    about `log_size` bytes.
    """

    args: tuple[str, ...]
    user: str
    terminal: bool
    stdin: bool
    started_at: datetime
    log_size: int = 0
    log_files: int = 0


@frozen
class ExecView:
    """An exec as clients see it. Those that aren't `kept` are of clients of containerd's API, who have their
    output; `exit_code` (128 + n for signal n) and `exited_at` tell of stopped ones only.
    """

    id: str
    container: str
    status: TaskStatus
    kept: bool = True
    pid: int = 0
    args: tuple[str, ...] = ()
    user: str = ""
    terminal: bool = False
    stdin: bool = False
    exit_code: int | None = None
    exit_note: str = ""
    started_at: datetime | None = None
    exited_at: datetime | None = None
