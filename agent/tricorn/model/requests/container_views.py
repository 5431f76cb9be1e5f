"""What clients are told of containers and what runs in them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from attrs import Factory, frozen

from tricorn.model.health import HealthView
from tricorn.model.networks import AttachmentView
from tricorn.model.records import TaskStatus
from tricorn.model.requests.containers import Resources


@frozen
class ExecResult:
    """`stdout` and `stderr` hold at most 16 MiB each; `truncated` tells when more was dropped."""

    exit_code: int
    stdout: str = ""
    stderr: str = ""
    truncated: bool = False
    timed_out: bool = False
    duration: float = 0.0


@frozen
class TaskView:
    status: TaskStatus
    pid: int = 0
    exit_code: int | None = None
    exit_note: str = ""
    oom_killed: bool = False
    oom_kills: int = 0  # processes killed for want of memory so far
    terminal: bool = False
    health: HealthView | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    exited_at: datetime | None = None


@frozen
class ContainerView:
    id: str
    namespace: str
    image: str
    image_digest: str
    runtime: str
    snapshotter: str
    labels: Mapping[str, str] = Factory(dict)
    task: TaskView | None = None
    desired: Mapping[str, Any] = Factory(dict)
    spec: Mapping[str, Any] | None = None  # only when one container is inspected
    network: tuple[Mapping[str, Any], ...] = ()
    attachment: AttachmentView | None = None  # its place in a network; only when one container is inspected
    log_path: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    warnings: tuple[str, ...] = ()  # of its making, in the answer to that: what the node couldn't grant


@frozen
class ExitView:
    exit_code: int
    exited_at: datetime | None = None
    note: str = ""


WaitState = Literal["exited", "running", "healthy"]


@frozen
class WaitView:
    """How a container is that was waited for; the exit is that of one that has ended."""

    id: str
    reached: bool
    status: str
    exit_code: int | None = None
    exited_at: datetime | None = None
    note: str = ""


@frozen
class StopOutcome:
    """One container of a stop of the whole node; those of a `wave` are stopped together."""

    namespace: str
    id: str
    wave: int
    error: str = ""


@frozen
class NodeStop:
    """What a stop of all containers did; `held` tells that restart policies wait for `start`."""

    items: tuple[StopOutcome, ...]
    held: bool


@frozen
class LimitsView:
    """The limits that a container has now; `live` tells whether a running one got them at once."""

    id: str
    resources: Resources
    live: bool
    warnings: tuple[str, ...] = ()


@frozen
class LogLine:
    timestamp: str  # RFC 3339 with nanoseconds, as the monitor wrote it
    stream: Literal["stdout", "stderr"]
    text: str
