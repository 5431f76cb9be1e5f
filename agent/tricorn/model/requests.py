"""What clients ask for and what they are told: the bodies of the HTTP/JSON API.

All are attrs classes; cattrs structures them (unknown keys are refused by name) and msgspec encodes them.
Sizes in bytes, times in seconds unless a field says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from attrs import Factory, field, frozen

from tricorn.model.health import HealthCheck, HealthView
from tricorn.model.networks import AttachmentView, Port
from tricorn.model.records import LeaseResource, TaskStatus

PullPolicy = Literal["missing", "always", "never"]


@frozen
class RegistryAuth:
    """Credentials of one request; never stored, never logged."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


@frozen
class HeaderAuth(RegistryAuth):
    """A ready Authorization value instead of credentials; from clients that hold a token already."""

    header: str = field(default="", repr=False)


@frozen
class ImageDesired:
    """Body of `PUT /v1/{namespace}/images`."""

    reference: str
    state: Literal["present", "absent"] = "present"
    pull: PullPolicy = "missing"
    platform: str = ""  # the node's own when empty
    platforms: tuple[str, ...] = ()  # others whose content comes, too, and stays packed
    plain_http: bool = False
    auth: RegistryAuth | None = None
    snapshotter: str = ""
    unpack: bool = True
    labels: Mapping[str, str] = Factory(dict)


@frozen
class ImagePush:
    """Body of `POST /v1/{namespace}/images/{name}/push`. An empty `reference` is the image's own name; an
    empty `platform` pushes the image for all its platforms.
    """

    reference: str = ""
    platform: str = ""
    plain_http: bool = False
    auth: RegistryAuth | None = None
    referrers: bool = False  # push also what refers to it and is on the node


@frozen
class ImageTag:
    """Body of `POST /v1/{namespace}/images/{name}/tag`."""

    reference: str


@frozen
class ImageTags:
    """Body of `PUT /v1/{namespace}/images/{name}/tags`: names that the image shall have, too. `force` moves
    those that stand for another image.
    """

    references: tuple[str, ...]
    force: bool = False


@frozen
class ArchiveExport:
    """Body of `PUT /v1/{namespace}/archive/export`: the file `path` of the node holds these images."""

    path: str
    images: tuple[str, ...]
    platform: str = ""
    all_platforms: bool = False


@frozen
class ArchiveImport:
    """Body of `PUT /v1/{namespace}/archive/import`: the images of the node's file `path` are here."""

    path: str
    base_name: str = ""
    platform: str = ""
    all_platforms: bool = False
    unpack: bool = True
    compress: bool = False


@frozen
class LeaseDesired:
    """Body of `PUT /v1/{namespace}/leases/{lease}`. `expire_seconds` counts for a new lease and with `renew`
    (None: 24 hours, 0: never). With `resources` it holds these and no others, without them what it holds.
    """

    state: Literal["present", "absent"] = "present"
    labels: Mapping[str, str] = Factory(dict)
    expire_seconds: float | None = None
    renew: bool = False
    resources: tuple[LeaseResource, ...] | None = None


@frozen
class SnapshotDesired:
    """Body of `PUT /v1/{namespace}/snapshots/{snapshotter}/{key}`. A new one stands on `parent` ("": on
    nothing); one that is there keeps the parent that it has, which must be this one if one is named. What
    is `committed` is made of the active snapshot `source`, whose key is free then. A new one is held by
    `lease`, if one is named.
    """

    state: Literal["active", "view", "committed", "absent"] = "active"
    parent: str = ""
    source: str = ""
    labels: Mapping[str, str] = Factory(dict)
    lease: str = ""


@frozen
class PushResult:
    """What a push left at the registry."""

    reference: str
    digest: str


@frozen
class NamedImage:
    name: str
    digest: str
    media_type: str


@frozen
class ImportResult:
    """The images of an archive, as they are recorded now."""

    images: tuple[NamedImage, ...]


@frozen
class Mount:
    """`type` is bind, tmpfs or any type the runtime takes; options as mount(8) spells them."""

    target: str
    source: str = ""
    type: str = "bind"
    options: tuple[str, ...] = ()


@frozen
class BlkioLimit:
    """Bounds of one block device, by its numbers (`8:0`): bytes and operations a second; 0 is no bound."""

    device: str
    read_bps: int = 0
    write_bps: int = 0
    read_iops: int = 0
    write_iops: int = 0


@frozen
class Resources:
    """Limits of a container's cgroup. None leaves a limit unset."""

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    cpus: float | None = None  # cores, 1.5 = one and a half
    cpu_shares: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids: int | None = None
    blkio_weight: int | None = None  # share of the devices' time, 10 to 1000
    blkio: tuple[BlkioLimit, ...] = ()


@frozen
class LimitsUpdate:
    """Body of `POST …/containers/{id}/update`: None keeps a limit, -1 takes it away."""

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    cpus: float | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids: int | None = None
    blkio_weight: int | None = None
    blkio: tuple[BlkioLimit, ...] | None = None


@frozen
class Rlimit:
    type: str  # RLIMIT_NOFILE and so on
    soft: int
    hard: int


@frozen
class ContainerDesired:
    """Body of `PUT /v1/{namespace}/containers/{id}`: the whole desired container.

    `entrypoint`/`args` replace the image's Entrypoint/Cmd when not None. `network` is `private` or
    `none` (an own network namespace with loopback up), `host`, `path:/…` (a namespace), `container:NAME`,
    a network's name or `cni:NAME`; `ports` are published through the latter two. `namespaces` joins others by
    kind (pid, ipc, uts, mount, cgroup, user): `private`, `host` or a path. `seccomp` is `default`,
    `unconfined` or an absolute path of a profile on the node. `restart` says when a container that has ended
    is started again: after any end (`always`), after any end unless it was stopped by hand, or after
    failures, N in a row at most.
    """

    image: str
    state: Literal["present", "started", "stopped", "absent"] = "started"
    pull: PullPolicy = "missing"
    platform: str = ""
    plain_http: bool = False
    entrypoint: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: Mapping[str, str] = Factory(dict)
    cwd: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    devices: tuple[str, ...] = ()  # HOST[:CONTAINER[:rwm]]
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    read_only: bool = False
    no_new_privileges: bool = True
    terminal: bool = False
    stdin: bool = False
    network: str = "private"
    ports: tuple[Port, ...] = ()
    namespaces: Mapping[str, str] = Factory(dict)
    uid_map: tuple[str, ...] = ()  # CONTAINER:HOST:SIZE, of a user namespace of its own; empty: as gid_map
    gid_map: tuple[str, ...] = ()
    resources: Resources = Resources()
    rlimits: tuple[Rlimit, ...] = ()
    sysctls: Mapping[str, str] = Factory(dict)
    seccomp: str = "default"
    annotations: Mapping[str, str] = Factory(dict)
    labels: Mapping[str, str] = Factory(dict)
    runtime: str = ""  # crun, runc or a name from the config; empty: the agent's choice
    snapshotter: str = ""
    stop_signal: str = ""
    stop_timeout: float = 10.0
    health: HealthCheck | None = None
    restart: str = "no"  # always, unless-stopped, on-failure or on-failure:N
    log_size: int = 0  # bytes per log file; 0: the config's default
    log_files: int = 0


@frozen
class ExecRequest:
    """Body of `POST …/containers/{id}/exec`; `user`, `cwd` and `env` default to the container's."""

    args: tuple[str, ...]
    env: Mapping[str, str] = Factory(dict)
    cwd: str = ""
    user: str = ""
    terminal: bool = False
    stdin: str = ""  # text given to the process; for streams use the upgraded form
    timeout: float = 0.0  # 0: none; at the end the process group is killed
    privileged: bool = False


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
class KillRequest:
    signal: str = "SIGTERM"
    all: bool = False


@frozen
class StopRequest:
    timeout: float | None = None  # None: the container's stop_timeout


@frozen
class Action:
    """One step of a plan, in the order of execution."""

    verb: str  # pull, create, recreate, start, stop, remove, update, unpack
    object: str
    reason: str = ""


@frozen
class Change:
    """What a desired-state request did, or would do under `plan=true`."""

    changed: bool
    actions: tuple[Action, ...] = ()
    before: Mapping[str, Any] = Factory(dict)
    after: Mapping[str, Any] = Factory(dict)
    warnings: tuple[str, ...] = ()


@frozen
class LayerView:
    digest: str
    size: int
    media_type: str


@frozen
class ImageView:
    name: str
    digest: str
    media_type: str
    size: int  # of all blobs for the node's platform that are present
    platform: str = ""
    unpacked: bool = False
    labels: Mapping[str, str] = Factory(dict)
    layers: tuple[LayerView, ...] = ()
    config: Mapping[str, Any] = Factory(dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None


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


ObjectPhase = Literal[
    "wait", "download", "upload", "read", "write", "verify", "unpack",
    "done", "skipped", "mounted",
]  # fmt: skip


@frozen
class ObjectProgress:
    """One object of long work, named by its digest. `kind` is index, manifest, config, layer or other.

    `done`, `skipped` (it was there) and `mounted` (the registry took it from another repository) are final.
    `rate` (bytes per second) and `eta` (seconds) are those of the phase.
    """

    digest: str
    kind: str
    phase: ObjectPhase
    total: int  # bytes
    offset: int = 0  # bytes that came or went
    unpacked: int = 0  # bytes of the compressed stream consumed by the unpacking
    resumed: int = 0  # of `offset`: bytes that were there before
    rate: float = 0.0
    eta: float | None = None


@frozen
class Progress:
    """One line of a progress stream: the state of the whole, and of the objects that changed since the line
    before; the first line has all objects. `rate` in bytes per second over the last moments, without what
    was there; `eta` in seconds.
    """

    operation: str
    phase: str
    message: str = ""
    offset: int = 0
    total: int = 0
    rate: float = 0.0
    eta: float | None = None
    objects: tuple[ObjectProgress, ...] = ()


@frozen
class OperationView:
    """Long work: lives on when its client goes, until it ends or is cancelled."""

    id: str
    namespace: str
    kind: str
    object: str
    state: Literal["running", "done", "failed", "cancelled"]
    progress: Progress | None = None
    result: Any = None
    error: Mapping[str, Any] | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


@frozen
class LogLine:
    timestamp: str  # RFC 3339 with nanoseconds, as the monitor wrote it
    stream: Literal["stdout", "stderr"]
    text: str


@frozen
class GcReport:
    """What a collection removed, or under `dry_run` would remove; `bytes` is the blobs' size."""

    dry_run: bool
    removed: tuple[Mapping[str, str], ...] = ()  # {namespace, type, key}
    bytes: int = 0
    seconds: float = 0.0


@frozen
class GcKeeper:
    """A root that an object hangs on; `until` is when it ends by itself."""

    object: str
    reason: str
    until: datetime | None = None


@frozen
class GcExplanation:
    """Why an object is kept: `chain` leads from a root to it, empty when it isn't kept; `keepers` are all
    roots it hangs on. `until` is when time alone frees it (None: never). For what isn't kept, `lapsed` tells
    what might have kept it, and `collected_at` when the next collection is, if that is known.
    """

    object: str
    kept: bool
    chain: tuple[str, ...] = ()
    note: str = ""
    keepers: tuple[GcKeeper, ...] = ()
    until: datetime | None = None
    lapsed: tuple[str, ...] = ()
    collected_at: datetime | None = None
