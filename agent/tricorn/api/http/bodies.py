"""Request bodies and answers that only the HTTP API knows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from attrs import Factory, frozen

from tricorn.model.cordon import CordonView
from tricorn.model.records import Event, Snapshot, SnapshotKind, Usage
from tricorn.model.requests import ContainerDesired, Progress
from tricorn.ports import Capability, RuntimeInfo


@frozen
class NamespacePut:
    labels: Mapping[str, str] = Factory(dict)


@frozen
class LabelsPatch:
    """An empty value removes its key."""

    labels: Mapping[str, str]


@frozen
class ContainerCreate:
    desired: ContainerDesired
    name: str | None = None  # the agent makes one up


@frozen
class ResizeRequest:
    rows: int
    columns: int


@frozen
class SignalRequest:
    signal: str


@frozen
class LeaseCreate:
    id: str | None = None  # the agent makes one up
    labels: Mapping[str, str] = Factory(dict)
    expire_seconds: float | None = None  # None: the agent's default, 0: never


# ---------------------------------------------------------------- answers
@frozen
class Empty:
    """An empty object."""


@frozen
class Health:
    status: Literal["ok"] = "ok"


@frozen
class VersionView:
    version: str
    api: str
    python: str
    revision: str


@frozen
class InfoView:
    """`statistics` and `cgroup` are figures for people; programs take `/metrics`."""

    version: str
    root: str
    state: str
    namespaces: tuple[str, ...]
    runtimes: tuple[RuntimeInfo, ...]
    snapshotters: tuple[Any, ...]
    capabilities: tuple[Capability, ...]
    kernel: str
    cgroup: Any
    uptime_seconds: float
    statistics: Mapping[str, Any]
    platform: str = ""
    interfaces: tuple[Mapping[str, Any], ...] = ()
    policy: Mapping[str, Any] = Factory(dict)
    peers: Mapping[str, Any] = Factory(dict)
    cordon: CordonView = Factory(CordonView)  # whether it takes on new containers


@frozen
class Pids:
    pids: tuple[int, ...]


@frozen
class SnapshotView:
    """A snapshot without the name of its directory, which is the agent's own business."""

    snapshotter: str
    key: str
    kind: SnapshotKind
    parent: str = ""
    labels: Mapping[str, str] = Factory(dict)
    usage: Usage = Factory(Usage)
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @classmethod
    def of(cls, record: Snapshot) -> SnapshotView:
        return cls(
            record.snapshotter, record.key, record.kind, record.parent, record.labels, record.usage,
            record.created_at, record.updated_at,
        )  # fmt: skip


@frozen
class EventList:
    """Ask on with `since=cursor`; `lost` events were asked for and are no longer kept."""

    items: tuple[Event, ...]
    cursor: int
    lost: int = 0


@frozen
class ProgressLine:
    """One line of long work's stream; the last has `result`, or `error` (a problem document)."""

    progress: Progress | None = None
    result: Any = None
    error: Mapping[str, Any] | None = None
