"""What the store keeps: immutable values, times in UTC. Each but Namespace belongs to one namespace."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from attrs import Factory, field, frozen

from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.model.stdio import Stdio

Labels = Mapping[str, str]


@frozen
class Namespace:
    name: str
    labels: Labels = Factory(dict)
    created_at: datetime | None = None


@frozen
class ContentInfo:
    """A blob as one namespace sees it; `size` in bytes."""

    digest: Digest
    size: int
    labels: Labels = Factory(dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None


@frozen
class QuarantinedBlob:
    """A blob whose file is not what its digest says, or missing. `file` is its name in the quarantine ("" if
    it has none); `namespaces` still wait for it, `restored` tells that a good one has come in its place.
    """

    digest: Digest
    size: int
    why: str
    file: str = ""
    namespaces: tuple[str, ...] = ()
    restored: bool = False
    found_at: datetime | None = None


@frozen
class IngestStatus:
    """A transfer under way; `offset` bytes are on disk, `total` is 0 while unknown."""

    ref: str
    offset: int
    total: int = 0
    expected: Digest | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None


@frozen
class Image:
    """A name for a descriptor (an index or a manifest)."""

    name: str
    target: Descriptor
    labels: Labels = Factory(dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None


class SnapshotKind(StrEnum):
    VIEW = "view"
    ACTIVE = "active"
    COMMITTED = "committed"


@frozen
class Usage:
    """Disk usage: bytes allocated and inodes."""

    size: int = 0
    inodes: int = 0


@frozen
class Snapshot:
    """`backend_id` names the directory the snapshotter made; clients never see it."""

    snapshotter: str
    key: str
    kind: SnapshotKind
    backend_id: str
    parent: str = ""
    labels: Labels = Factory(dict)
    usage: Usage = Usage()
    created_at: datetime | None = None
    updated_at: datetime | None = None


@frozen
class AnyValue:
    """A message of a type that only its owner need know, kept byte for byte (protobuf's Any)."""

    type_url: str
    value: bytes = field(default=b"", repr=False)


@frozen
class Container:
    """`desired` is the canonical request the container was made from: plans compare against it; it is empty
    for one whose spec a client of the containers service made.

    `runtime` is the OCI runtime as this agent names it; `runtime_name` and `runtime_options` are what such a
    client asked for ("" and None: nothing was asked). `spec_type` is the type of `spec` ("": OCI's, JSON).
    """

    id: str
    image: str = ""
    image_digest: str = ""
    runtime: str = ""
    snapshotter: str = ""
    snapshot_key: str = ""
    spec: bytes = field(default=b"{}", repr=False)
    desired: Mapping[str, Any] = field(factory=dict, repr=False)
    labels: Labels = Factory(dict)
    extensions: Mapping[str, AnyValue] = Factory(dict)
    runtime_name: str = ""
    runtime_options: AnyValue | None = None
    spec_type: str = ""
    sandbox: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


@frozen
class SandboxRuntime:
    """What is to run a sandbox, in its client's words."""

    name: str
    options: AnyValue | None = None


@frozen
class Sandbox:
    """The record of a sandbox. `sandboxer` names the controller that is to run it."""

    id: str
    runtime: SandboxRuntime
    spec: AnyValue | None = None
    sandboxer: str = ""
    labels: Labels = Factory(dict)
    extensions: Mapping[str, AnyValue] = Factory(dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None


class TaskStatus(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


@frozen
class ProcessIdentity:
    """A process that a later agent can recognise: pid and start time in clock ticks since boot."""

    pid: int
    start_ticks: int


@frozen
class Task:
    """A container's run. `init` is its first process, `monitor` the conmon that watches it.

    `exit_code` is None until the task stopped; 128 + n for signal n. `exit_note` says why a code isn't
    the process's own (lost with the host, monitor killed). `stdio` is None where the agent keeps a log, else
    where a client of the tasks service has the streams. `runtime` is "" when it is the container's.
    `restoring`: a created task that the start restores from a checkpoint; it has no process before.
    """

    container: str
    status: TaskStatus
    init: ProcessIdentity | None = None
    monitor: ProcessIdentity | None = None
    terminal: bool = False
    exit_code: int | None = None
    exit_note: str = ""
    oom_killed: bool = False
    oom_kills: int = 0  # processes killed for want of memory, as far as was told
    boot_id: str = ""
    stdio: Stdio | None = None
    runtime: str = ""
    restoring: bool = False
    created_at: datetime | None = None
    started_at: datetime | None = None
    exited_at: datetime | None = None


@frozen
class Lease:
    """Keeps what it lists from collection. Expiry is the label `containerd.io/gc.expire`."""

    id: str
    labels: Labels = Factory(dict)
    created_at: datetime | None = None


@frozen
class LeaseResource:
    """`type` is content, ingests, images or snapshots/<snapshotter>."""

    type: str
    id: str


@frozen
class Event:
    """One line of the journal; `sequence` grows by commit order and is the cursor of subscribers."""

    sequence: int
    timestamp: datetime
    namespace: str
    topic: str
    event: Mapping[str, Any]


@frozen
class Intent:
    """A change of the outside world that was announced before it was begun.

    Written before the first side effect of a create or delete and removed in the transaction that
    completes it, so that the next start finishes or undoes what a crash cut short.
    """

    id: int
    namespace: str
    kind: str
    object: str
    data: Mapping[str, Any]
    created_at: datetime | None = None
