"""The interfaces between the service layer and the four workers (store, fs, registry, runtime).

Each has one conformance suite in `tests/conformance/`. Everything here may be called from any Trio task;
nothing blocks the loop. Failures are `tricorn.errors` only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Literal, Protocol

from attrs import Factory, field, frozen

from tricorn.model.checkpoints import DumpOptions, RestorePlan
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.model.processes import CgroupFiles
from tricorn.model.records import ContentInfo, IngestStatus, ProcessIdentity, SnapshotKind, Usage
from tricorn.model.reference import Reference
from tricorn.model.requests import LogLine, RegistryAuth
from tricorn.model.samples import CgroupSample, ProcessInfo
from tricorn.model.stdio import Stdio


class Clock(Protocol):
    def now(self) -> datetime:
        """Return the time, in UTC."""
        ...


# ---------------------------------------------------------------- content
class BlobSink(Protocol):
    """Takes a blob's bytes in order. `offset` is how many it has (more than 0 when resuming)."""

    @property
    def offset(self) -> int: ...

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`; it may be reused by the caller once this returns."""
        ...


class ContentWriter(BlobSink, Protocol):
    """The one writer of an ingest ref. Bytes survive close and crash, and are resumed by ref."""

    @property
    def ref(self) -> str: ...

    @property
    def path(self) -> str:
        """The growing ingest file: others may read it while it grows."""
        ...

    async def truncate(self) -> None:
        """Drop all bytes and start at offset 0."""
        ...

    async def commit(
        self,
        *,
        size: int | None = None,
        expected: Digest | None = None,
        labels: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> ContentInfo:
        """fsync, verify size then digest (FailedPrecondition), rename into place, record it in the
        namespace (and in the writer's lease). AlreadyExists if the namespace has it already. The record
        needs not outlive a loss of power unless `durable`.
        """
        ...


class ContentStore(Protocol):
    async def info(self, namespace: str, digest: Digest) -> ContentInfo:
        """NotFound if the namespace doesn't have it."""
        ...

    async def update_labels(self, namespace: str, digest: Digest, labels: Mapping[str, str]) -> ContentInfo:
        """Merge `labels` in; an empty value deletes. NotFound."""
        ...

    async def read(self, namespace: str, digest: Digest, *, limit: int) -> bytes:
        """Return the whole blob; ResourceExhausted if it has more than `limit` bytes."""
        ...

    def blob_path(self, digest: Digest) -> str:
        """Where the blob is (or would be) on disk, whatever the namespace."""
        ...

    def doubt(self, digest: Digest) -> None:
        """Have a blob verified soon: something that read it says that it is damaged."""
        ...

    def writer(
        self, namespace: str, ref: str, *, total: int = 0, expected: Digest | None = None, lease: str = ""
    ) -> AbstractAsyncContextManager[ContentWriter]:
        """Open the ingest `ref` (resuming it). AlreadyExists when `expected` is in the namespace; when
        another namespace has it, it is linked into this one first, and AlreadyExists is raised too.
        Unavailable while another writer holds the ref. Adds to `lease` whatever exists or is made.
        """
        ...

    async def statuses(self, namespace: str) -> list[IngestStatus]: ...

    async def abort(self, namespace: str, ref: str) -> None:
        """Drop an ingest and its bytes; NotFound."""
        ...


# ---------------------------------------------------------------- snapshots
@frozen
class FilesystemMount:
    """One mount(2) to make: `options` hold lowerdir=…, upperdir=…, ro, rbind and the like."""

    type: str
    source: str
    options: tuple[str, ...] = ()


class Snapshotter(Protocol):
    """Directories of snapshots, named by backend ids that the caller makes up (unique for ever).

    Records (keys, parents, labels) are the store's; this side only knows ids. `parents` are backend
    ids of committed snapshots, nearest first. All calls are idempotent enough to be repeated after a
    crash: `create` of an id that is already there replaces it, `remove` of a missing one is no error.
    """

    name: str

    async def supported(self) -> str:
        """Return "" if the host can run this snapshotter, else why not."""
        ...

    async def create(self, backend_id: str, kind: SnapshotKind, parents: Sequence[str]) -> None: ...

    def mounts(
        self, backend_id: str, kind: SnapshotKind, parents: Sequence[str]
    ) -> tuple[FilesystemMount, ...]: ...

    async def unmapped(self) -> str:
        """Return "" if its mounts can show other owners than the disk has, else why not."""
        ...

    def layer_root(self, backend_id: str) -> str | None:
        """The directory into which a layer may be applied without a mount (each layer by itself, with
        whiteouts in overlay's form), or None if layers must be applied on the mounted parent.
        """
        ...

    async def adopt(self, backend_id: str, parents: Sequence[str], implied: Sequence[str]) -> None:
        """Give the directories `implied` (of an `ExtractResult`) the metadata they have in the nearest of
        `parents` that has them. To be called when a layer was applied to its `layer_root`, once the
        parents are committed and before the snapshot itself is.
        """
        ...

    async def commit(self, backend_id: str, usage: Usage | None = None) -> Usage:
        """Complete the snapshot; return what it takes, which is measured unless the caller has."""
        ...

    async def remove(self, backend_id: str) -> None: ...

    async def usage(self, backend_id: str) -> Usage: ...

    async def walk(self) -> list[str]:
        """Return the ids of all directories on disk, half-made ones included."""
        ...


# ---------------------------------------------------------------- extraction of layers
@frozen
class ExtractResult:
    diff_id: Digest
    size: int  # bytes of the tar
    entries: int
    warnings: tuple[str, ...] = ()
    # Directories that the layer has no entry for ("." is its root): made as 0755 root, to be given the
    # metadata that lower layers have for them before the snapshot is used.
    implied: tuple[str, ...] = ()
    usage: Usage | None = None  # what it takes on disk, where that could be counted in passing


class Extraction(Protocol):
    """One layer being applied by a confined child while its blob is still growing."""

    def grew(self, offset: int) -> None:
        """The source file has `offset` valid bytes now. Never blocks."""
        ...

    @property
    def consumed(self) -> int:
        """Bytes of the source that the child has read, for progress."""
        ...

    async def finish(self, total: int) -> ExtractResult:
        """The source is complete at `total` bytes: wait for the child's result.

        Raises InvalidArgument (hostile or malformed layer, naming the entry) or ResourceExhausted.
        """
        ...


WhiteoutFormat = Literal["overlay", "apply"]


class Extractor(Protocol):
    def start(
        self, source: str, target: str, compression: str, whiteouts: WhiteoutFormat = "overlay"
    ) -> AbstractAsyncContextManager[Extraction]:
        """Begin to apply the file `source` (compression "", gzip or zstd) to the directory `target`.
        `overlay` writes whiteouts as 0/0 devices and opaque xattrs; `apply` removes what they name.
        Leaving the context kills the child if it hasn't finished.
        """
        ...


# ---------------------------------------------------------------- making layers
@frozen
class DiffResult:
    diff_id: Digest
    size: int  # bytes of the tar
    entries: int
    warnings: tuple[str, ...] = ()


class Diffing(Protocol):
    """One layer being made by a confined child."""

    async def read(self) -> bytes:
        """Return the next bytes of the layer, b"" at its end."""
        ...

    async def finish(self) -> DiffResult:
        """Return what was written, once all of it has been read. Raises what the child met."""
        ...


class LayerDiffer(Protocol):
    def start(
        self,
        left: Sequence[FilesystemMount],
        right: Sequence[FilesystemMount],
        compression: str,
        *,
        epoch: int | None = None,
        whole: bool = False,
    ) -> AbstractAsyncContextManager[Diffing]:
        """Begin to make the layer that turns what `left` shows ([]: nothing) into what `right` shows,
        with the compression "", gzip or zstd. `epoch` (seconds) bounds all times. Where `right` is `left`
        under an upper directory only that is read, unless `whole`. Leaving the context kills the child.
        """
        ...


class Repacking(Diffing, Protocol):
    """One layer being compressed otherwise by a confined child."""

    @property
    def consumed(self) -> int:
        """Bytes of the source that the child has read, for progress."""
        ...


class LayerRepacker(Protocol):
    def start(self, path: str, declared: str, compression: str) -> AbstractAsyncContextManager[Repacking]:
        """Begin to pack the layer in the file `path`, whose media type declares the compression `declared`,
        with the compression "", gzip or zstd. The same layer gives the same bytes. Leaving the context
        kills the child. `finish` raises InvalidArgument for a damaged layer, ResourceExhausted for a bomb.
        """
        ...


# ---------------------------------------------------------------- registry
class CredentialSource(Protocol):
    """Credentials that somebody is asked for only once a registry wants them."""

    def known(self, host: str) -> RegistryAuth | None:
        """Return what was answered for `host` (`name[:port]`) before, if anything."""
        ...

    async def ask(self, host: str, challenges: Sequence[str]) -> RegistryAuth | None:
        """Return credentials for `host`, which sent these WWW-Authenticate lines; None for none."""
        ...


Auth = RegistryAuth | CredentialSource


@frozen
class RegistryWay:
    """How one request reaches a registry, beside the agent's own configuration. `hosts_dir` stands in for
    the configured tree of hosts.toml files; `headers` go to the registry that the reference names. `trace`
    is told of each request and its answer, in lines, without what is secret.
    """

    hosts_dir: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    trace: Callable[[str], None] | None = None


DEFAULT_WAY = RegistryWay()
PushOutcome = Literal["pushed", "exists", "mounted"]


class Push(Protocol):
    """One push to one repository. All calls may run side by side; children before what names them."""

    async def blob(
        self,
        descriptor: Descriptor,
        path: str,
        *,
        mounts: Sequence[str] = (),
        sent: Callable[[int], None] = lambda _: None,
    ) -> PushOutcome:
        """Bring the file at `path` there, unless the registry has it or can mount it from one of the
        repositories `mounts`. Broken uploads are resumed; `sent` learns how many bytes are there.
        """
        ...

    async def manifest(self, descriptor: Descriptor, data: bytes, name: str = "") -> PushOutcome:
        """Put a manifest or index under the tag `name`, or under its digest alone."""
        ...


class Registry(Protocol):
    async def resolve(
        self,
        reference: Reference,
        *,
        auth: Auth | None = None,
        plain_http: bool = False,
        way: RegistryWay = DEFAULT_WAY,
    ) -> Descriptor:
        """Ask the registry (hosts.toml's order) what the reference names: one HEAD, or a GET where the
        answer to HEAD lacks the digest. NotFound, Unauthenticated, PermissionDenied, Unavailable.
        """
        ...

    async def fetch(
        self,
        reference: Reference,
        descriptor: Descriptor,
        sink: BlobSink,
        *,
        auth: Auth | None = None,
        plain_http: bool = False,
        way: RegistryWay = DEFAULT_WAY,
    ) -> None:
        """Bring exactly `descriptor.size` bytes into `sink`, starting at its offset. Retries with backoff,
        resumes by Range, breaks stalled connections. The caller verifies the digest.
        """
        ...  # fmt: skip

    async def fetch_document(
        self,
        reference: Reference,
        descriptor: Descriptor,
        *,
        auth: Auth | None = None,
        plain_http: bool = False,
        way: RegistryWay = DEFAULT_WAY,
    ) -> bytes:
        """Return a small blob or manifest whole, verified against digest and size (DataLoss)."""
        ...  # fmt: skip

    async def push(
        self,
        reference: Reference,
        *,
        auth: Auth | None = None,
        plain_http: bool = False,
        way: RegistryWay = DEFAULT_WAY,
    ) -> Push:
        """Prepare to push to the repository of `reference`, on the first host that may be pushed to."""
        ...


class Referrals(Protocol):
    """What a registry knows of artifacts that refer to images."""

    async def referrers(
        self,
        reference: Reference,
        subject: Digest,
        artifact_type: str = "",
        *,
        auth: Auth | None = None,
        plain_http: bool = False,
        way: RegistryWay = DEFAULT_WAY,
    ) -> list[Descriptor]:
        """Return what refers to `subject` in the repository of `reference`, of one artifact type or all,
        from the first host that knows of any. The errors of `Registry.resolve`, but for NotFound.
        """
        ...

    async def refer(
        self,
        reference: Reference,
        subject: Digest,
        referrer: Descriptor,
        *,
        auth: Auth | None = None,
        plain_http: bool = False,
        way: RegistryWay = DEFAULT_WAY,
    ) -> bool:
        """Let the registry tell of a referrer whose manifest was pushed to the repository of `reference`.
        Returns whether the list under the subject's tag had to be written for that.
        """
        ...


# ---------------------------------------------------------------- runtime
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
    """An exec that an earlier agent started for a client; `told` is whether its end is in the journal."""

    id: str
    created: Created
    stdio: Stdio
    told: bool = False


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


@frozen
class CriuInfo:
    """The CRIU that this node uses; `reason` says why `usable` is false. `missing` are kernel features."""

    path: str
    version: str = ""
    usable: bool = False
    reason: str = ""
    hint: str = ""
    features: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


LazyState = Literal["", "serving", "done", "failed"]


class Checkpointer(Protocol):
    """The part of a runtime that dumps containers. `Runtime.create` restores them (`BundleRef.restore`)."""

    async def criu(self) -> CriuInfo:
        """Probe CRIU; a usable one is remembered."""
        ...

    async def can_checkpoint(self, runtime: str) -> None:
        """Unimplemented, with reason and remedy, unless containers of this runtime can be dumped and
        restored here.
        """
        ...

    async def can_restore_lazily(self, runtime: str) -> None:
        """Unimplemented, naming what is missing, unless containers of this runtime can be restored before
        their memory is there.
        """
        ...

    def lazy_state(self, ref: BundleRef) -> LazyState:
        """Return whether a container is still being given its memory; "" if it was not restored lazily."""
        ...

    async def lazy_end(self, ref: BundleRef) -> LazyState:
        """Wait until a container has been given its memory, or lost it."""
        ...

    async def checkpoint(self, ref: BundleRef, images: str, work: str, options: DumpOptions) -> None:
        """Dump all processes of a running or frozen container into the directory `images`, the log into
        `work`. With `leave_running` they are afterwards as they were; else they are gone.

        FailedPrecondition with CRIU's words and the remedy: the container is then as it was.
        """
        ...

    async def settle_dump(self, images: str, seconds: float) -> None:
        """After a crash: let a dump that still runs come to its end, for at most `seconds`."""
        ...

    async def restored(self, ref: BundleRef) -> None:
        """Connect the client's stdin of a container that `create` restored: it runs already."""
        ...


class CheckpointRuntime(Runtime, Checkpointer, Protocol):
    """A runtime that can dump."""


@frozen
class Capability:
    """Something this node can or can't do, with the reason and the remedy."""

    name: str
    available: bool
    reason: str = ""
    hint: str = ""
    details: Mapping[str, Any] = Factory(dict)
