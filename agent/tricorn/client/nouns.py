"""The client's methods, one class per noun of the API. All raise `tricorn.errors`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from tricorn.client import calls, upkeep_calls
from tricorn.client.connection import Pool
from tricorn.client.session import Session, open_session
from tricorn.client.stream import Stream, Work, line_of, open_bytes, open_stream, open_work
from tricorn.client.values import plain, value, values
from tricorn.model.health import HealthView
from tricorn.model.image_requests import (
    CommitResult,
    ContainerCommit,
    ConversionResult,
    ImageCheck,
    ImageConversion,
    ImageUsages,
    ReferrersQuery,
    ReferrersResult,
    SnapshotDiff,
)
from tricorn.model.policy import PolicyAnswer, PolicyQuestion, PolicyView
from tricorn.model.records import ContentInfo, Lease, LeaseResource, Namespace, Snapshot
from tricorn.model.requests import (
    ArchiveExport,
    ArchiveImport,
    Change,
    ContainerDesired,
    ContainerView,
    ExecRequest,
    ExecResult,
    ExitView,
    ImageDesired,
    ImagePush,
    ImageTags,
    ImageView,
    ImportResult,
    LeaseDesired,
    LimitsUpdate,
    LimitsView,
    LogLine,
    OperationView,
    Progress,
    PushResult,
    RegistryAuth,
    SnapshotDesired,
    WaitState,
    WaitView,
)
from tricorn.model.samples import ContainerSample, ProcessInfo
from tricorn.model.usage import NamespaceUsage


class Noun:
    """Calls in one namespace over one pool of connections."""

    def __init__(self, pool: Pool, namespace: str) -> None:
        self._pool = pool
        self._ns = namespace


class Namespaces(Noun):
    async def list(self, filters: Sequence[str] = ()) -> list[Namespace]:
        return values(await self._pool.call(calls.namespaces(filters)), Namespace)

    async def get(self, name: str) -> Namespace:
        return value(await self._pool.call(calls.namespace(name)), Namespace)

    async def put(self, name: str, labels: Mapping[str, str] | None = None, *, plan: bool = False) -> Change:
        call = calls.put_namespace(name, dict(labels or {}), plan=plan)
        return value(await self._pool.call(call), Change)

    async def update(self, name: str, labels: Mapping[str, str]) -> Namespace:
        """Set labels; an empty value removes one."""
        return value(await self._pool.call(calls.patch_namespace(name, dict(labels))), Namespace)

    async def delete(self, name: str, *, plan: bool = False) -> Change:
        return value(await self._pool.call(calls.delete_namespace(name, plan=plan)), Change)

    async def usage(self, name: str, *, active: bool = False) -> NamespaceUsage:
        """Return what a namespace uses and its budget; `active` measures what containers wrote, too."""
        call = upkeep_calls.namespace_usage(name, active=active)
        return value(await self._pool.call(call), NamespaceUsage)


class Images(Noun):
    async def list(self, filters: Sequence[str] = ()) -> list[ImageView]:
        return values(await self._pool.call(calls.images(self._ns, filters)), ImageView)

    async def get(self, name: str) -> ImageView:
        return value(await self._pool.call(calls.image(self._ns, name)), ImageView)

    async def put(self, desired: ImageDesired, *, plan: bool = False) -> Change:
        """Bring the image into the desired state, waiting for a pull; cancelled with the caller."""
        return value(await self._pool.call(calls.put_image(self._ns, plain(desired), plan=plan)), Change)

    def work(self, desired: ImageDesired) -> AbstractAsyncContextManager[Work[Change]]:
        """Like `put`, with the progress to iterate over."""
        call = calls.put_image(self._ns, plain(desired), stream=True)
        return open_work(self._pool, call, lambda raw: value(raw, Change))

    async def begin(self, desired: ImageDesired) -> OperationView:
        """Like `put`, but return at once: the operation outlives the caller."""
        return value(
            await self._pool.call(calls.put_image(self._ns, plain(desired), detach=True)), OperationView
        )

    async def delete(self, name: str, *, sync: bool = False, plan: bool = False) -> Change:
        return value(await self._pool.call(calls.delete_image(self._ns, name, sync=sync, plan=plan)), Change)

    async def push(self, name: str, wanted: ImagePush | None = None) -> PushResult:
        """Push an image, by default under its own name; cancelled with the caller."""
        call = calls.push_image(self._ns, name, plain(wanted or ImagePush()))
        return value(await self._pool.call(call), PushResult)

    def push_work(
        self, name: str, wanted: ImagePush | None = None
    ) -> AbstractAsyncContextManager[Work[PushResult]]:
        """Like `push`, with the progress to iterate over."""
        call = calls.push_image(self._ns, name, plain(wanted or ImagePush()), stream=True)
        return open_work(self._pool, call, lambda raw: value(raw, PushResult))

    async def tag(self, name: str, reference: str) -> ImageView:
        """Give an image one more name; a name that stands for another image is moved."""
        return value(await self._pool.call(calls.tag_image(self._ns, name, reference)), ImageView)

    async def label(self, name: str, labels: Mapping[str, str]) -> ImageView:
        """Set labels; an empty value removes one."""
        return value(await self._pool.call(calls.label_image(self._ns, name, dict(labels))), ImageView)

    async def convert(self, name: str, wanted: ImageConversion) -> ConversionResult:
        """Make an image in another form or with other compression; cancelled with the caller."""
        return value(
            await self._pool.call(calls.convert_image(self._ns, name, plain(wanted))), ConversionResult
        )

    def convert_work(
        self, name: str, wanted: ImageConversion
    ) -> AbstractAsyncContextManager[Work[ConversionResult]]:
        """Like `convert`, with the progress to iterate over."""
        call = calls.convert_image(self._ns, name, plain(wanted), stream=True)
        return open_work(self._pool, call, lambda raw: value(raw, ConversionResult))

    async def referrers(self, name: str, *, type: str = "", platform: str = "") -> ReferrersResult:
        """Return the artifacts on the node that refer to an image."""
        call = calls.referrers(self._ns, name, type=type, platform=platform)
        return value(await self._pool.call(call), ReferrersResult)

    async def ask_referrers(self, name: str, wanted: ReferrersQuery | None = None) -> ReferrersResult:
        """Return the artifacts that the image's registry knows of; `fetch` brings them."""
        call = calls.ask_referrers(self._ns, name, plain(wanted or ReferrersQuery()))
        return value(await self._pool.call(call), ReferrersResult)

    async def check(
        self, names: Sequence[str] = (), *, platform: str = "", all_platforms: bool = False
    ) -> Sequence[ImageCheck]:
        """Return whether images (without names, all) are whole."""
        call = calls.check_images(self._ns, names, platform=platform, all_platforms=all_platforms)
        return values(await self._pool.call(call), ImageCheck)

    async def usage(self, names: Sequence[str] = ()) -> ImageUsages:
        """Return what images (without names, all) take."""
        return value(await self._pool.call(calls.image_usage(self._ns, names)), ImageUsages)

    async def tagged(self, name: str, wanted: ImageTags, *, plan: bool = False) -> Change:
        """Make sure that the image has these names, too."""
        return value(await self._pool.call(calls.put_tags(self._ns, name, plain(wanted), plan=plan)), Change)

    async def pushed(self, name: str, wanted: ImagePush, *, plan: bool = False) -> Change:
        """Make sure that a registry has the image; it is asked first."""
        return value(await self._pool.call(calls.put_push(self._ns, name, plain(wanted), plan=plan)), Change)

    async def exported(self, wanted: ArchiveExport, *, plan: bool = False) -> Change:
        """Make sure that a file of the node is the archive of these images."""
        return value(await self._pool.call(calls.put_export(self._ns, plain(wanted), plan=plan)), Change)

    async def imported(self, wanted: ArchiveImport, *, plan: bool = False) -> Change:
        """Make sure that the images of an archive on the node are in the agent."""
        return value(await self._pool.call(calls.put_import(self._ns, plain(wanted), plan=plan)), Change)

    def export(
        self, names: Sequence[str], *, platform: str = "", all_platforms: bool = False, operation: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Give the bytes of an archive of images, chunk by chunk. With an id for its `operation` its
        progress can be had from `operations.progress` meanwhile.
        """
        call = calls.export_images(
            self._ns, names, platform=platform, all_platforms=all_platforms, operation=operation
        )
        return open_bytes(self._pool, call)

    async def load(
        self,
        archive: AsyncIterable[bytes],
        *,
        base_name: str = "",
        platform: str = "",
        all_platforms: bool = False,
        unpack: bool = True,
        compress: bool = False,
        operation: str = "",
        size: int = 0,
    ) -> ImportResult:
        """Import an archive whose bytes are given; `size` is how many, if that is known. With an id for its
        `operation` its progress can be had from `operations.progress` meanwhile.
        """
        call = calls.import_images(
            self._ns,
            base_name=base_name,
            platform=platform,
            all_platforms=all_platforms,
            unpack=unpack,
            compress=compress,
            operation=operation,
            size=size,
        )
        return value(await self._pool.upload(call, archive), ImportResult)


class Containers(Noun):
    async def commit(self, id: str, wanted: ContainerCommit) -> CommitResult:
        """Make an image of a container; cancelled with the caller."""
        return value(await self._pool.call(calls.commit_container(self._ns, id, plain(wanted))), CommitResult)

    def commit_work(
        self, id: str, wanted: ContainerCommit
    ) -> AbstractAsyncContextManager[Work[CommitResult]]:
        """Like `commit`, with the progress to iterate over."""
        call = calls.commit_container(self._ns, id, plain(wanted), stream=True)
        return open_work(self._pool, call, lambda raw: value(raw, CommitResult))

    async def list(self, filters: Sequence[str] = (), *, all: bool = True) -> list[ContainerView]:
        return values(await self._pool.call(calls.containers(self._ns, filters, all=all)), ContainerView)

    async def get(self, id: str) -> ContainerView:
        return value(await self._pool.call(calls.container(self._ns, id)), ContainerView)

    async def put(self, id: str, desired: ContainerDesired, *, plan: bool = False) -> Change:
        """Bring the container into the desired state; cancelled with the caller."""
        call = calls.put_container(self._ns, id, plain(desired), plan=plan)
        return value(await self._pool.call(call), Change)

    def put_work(self, id: str, desired: ContainerDesired) -> AbstractAsyncContextManager[Work[Change]]:
        """Like `put`, with the progress to iterate over."""
        call = calls.put_container(self._ns, id, plain(desired), stream=True)
        return open_work(self._pool, call, lambda raw: value(raw, Change))

    async def begin(self, id: str, desired: ContainerDesired) -> OperationView:
        """Like `put`, but return at once: the operation outlives the caller."""
        call = calls.put_container(self._ns, id, plain(desired), detach=True)
        return value(await self._pool.call(call), OperationView)

    async def create(self, desired: ContainerDesired, *, name: str = "") -> ContainerView:
        """Create a container; AlreadyExists if there is one of that name. Without one, one is made up."""
        call = calls.create_container(self._ns, plain(desired), name=name)
        return value(await self._pool.call(call), ContainerView)

    def create_work(
        self, desired: ContainerDesired, *, name: str = ""
    ) -> AbstractAsyncContextManager[Work[ContainerView]]:
        """Like `create`, with the progress to iterate over."""
        call = calls.create_container(self._ns, plain(desired), name=name, stream=True)
        return open_work(self._pool, call, lambda raw: value(raw, ContainerView))

    async def delete(
        self, id: str, *, force: bool = False, stop_timeout: float | None = None, plan: bool = False
    ) -> Change:
        call = calls.delete_container(self._ns, id, force=force, stop_timeout=stop_timeout, plan=plan)
        return value(await self._pool.call(call), Change)

    async def start(self, id: str) -> ContainerView:
        return await self._act(id, "start")

    async def stop(self, id: str, *, timeout: float | None = None) -> ContainerView:
        """Ask it to stop, kill it after `timeout` seconds (None: the container's own)."""
        return await self._act(id, "stop", {} if timeout is None else {"timeout": timeout})

    async def pause(self, id: str) -> ContainerView:
        return await self._act(id, "pause")

    async def resume(self, id: str) -> ContainerView:
        return await self._act(id, "resume")

    async def kill(self, id: str, signal: str = "SIGTERM", *, all: bool = False) -> None:
        await self._pool.call(calls.action(self._ns, id, "kill", {"signal": signal, "all": all}))

    async def resize(self, id: str, rows: int, columns: int) -> None:
        await self._pool.call(calls.action(self._ns, id, "resize", {"rows": rows, "columns": columns}))

    async def close_stdin(self, id: str) -> None:
        """End the container's standard input."""
        await self._pool.call(calls.action(self._ns, id, "close-stdin"))

    async def update(self, id: str, wanted: LimitsUpdate) -> LimitsView:
        """Change limits, of a running container at once; None keeps one, -1 takes it away."""
        return value(await self._pool.call(calls.action(self._ns, id, "update", plain(wanted))), LimitsView)

    async def wait(self, id: str) -> ExitView:
        """Wait for the exit, however long it takes."""
        return value(await self._pool.call(calls.wait(self._ns, id)), ExitView)

    async def wait_many(
        self,
        ids: Sequence[str],
        *,
        state: WaitState = "exited",
        any: bool = False,
        timeout: float | None = None,
    ) -> Sequence[WaitView]:
        """Wait until all (or with `any` one) of these containers have reached a state. DeadlineExceeded."""
        call = calls.wait_many(self._ns, ids, state=state, any=any, timeout=timeout)
        return values(await self._pool.call(call), WaitView)

    async def exec(self, id: str, request: ExecRequest) -> ExecResult:
        """Run a process to its end and return its output, at most 16 MiB per stream."""
        return value(await self._pool.call(calls.exec_(self._ns, id, plain(request))), ExecResult)

    def exec_session(self, id: str, request: ExecRequest) -> AbstractAsyncContextManager[Session]:
        """Run a process with its input and output streamed."""
        return open_session(self._pool, calls.exec_session(self._ns, id), plain(request))

    def attach(self, id: str, *, start: bool = False) -> AbstractAsyncContextManager[Session]:
        """Connect to the container's own input and output; with `start`, start it then: nothing is lost."""
        return open_session(self._pool, calls.attach(self._ns, id, start=start))

    def logs(
        self,
        id: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> AbstractAsyncContextManager[Stream[LogLine]]:
        """Give the lines that the container wrote; `since` and `until` are RFC 3339 times."""
        call = calls.logs(self._ns, id, follow=follow, tail=tail, since=since, until=until)
        return open_stream(self._pool, call, line_of(LogLine))

    async def stats(self, id: str) -> dict[str, Any]:
        return value(await self._pool.call(calls.stats(self._ns, id)), dict[str, Any])

    async def samples(
        self, names: Sequence[str] = (), *, everywhere: bool = False
    ) -> Sequence[ContainerSample]:
        """Return what the running containers (or those that are named) use now."""
        call = calls.samples(None if everywhere else self._ns, names)
        return values(await self._pool.call(call), ContainerSample)

    async def processes(self, id: str) -> Sequence[ProcessInfo]:
        """Return the processes of a running container, as the node sees them."""
        return values(await self._pool.call(calls.processes(self._ns, id)), ProcessInfo)

    async def health(self, id: str, *, wait: bool = False, timeout: float | None = None) -> HealthView:
        """Say how it fares; with `wait` once it is healthy. DeadlineExceeded after `timeout` seconds (60)."""
        call = calls.health(self._ns, id, wait=wait, timeout=timeout)
        return value(await self._pool.call(call), HealthView)

    async def pids(self, id: str) -> Sequence[int]:
        answer = value(await self._pool.call(calls.pids(self._ns, id)), dict[str, Any])
        return value(answer.get("pids"), list[int])

    async def _act(self, id: str, verb: str, body: dict[str, Any] | None = None) -> ContainerView:
        return value(await self._pool.call(calls.action(self._ns, id, verb, body)), ContainerView)


class Content(Noun):
    async def list(self, filters: Sequence[str] = ()) -> list[ContentInfo]:
        return values(await self._pool.call(calls.content(self._ns, filters)), ContentInfo)

    async def get(self, digest: str) -> ContentInfo:
        return value(await self._pool.call(calls.blob(self._ns, digest)), ContentInfo)

    def open(self, digest: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Give the blob's bytes, chunk by chunk."""
        return open_bytes(self._pool, calls.blob_data(self._ns, digest))

    async def delete(self, digest: str) -> None:
        await self._pool.call(calls.delete_blob(self._ns, digest))


class Snapshots(Noun):
    async def list(self, snapshotter: str = "", filters: Sequence[str] = ()) -> list[Snapshot]:
        return values(await self._pool.call(calls.snapshots(self._ns, snapshotter, filters)), Snapshot)

    async def get(self, snapshotter: str, key: str) -> Snapshot:
        return value(await self._pool.call(calls.snapshot(self._ns, snapshotter, key)), Snapshot)

    async def put(
        self, snapshotter: str, key: str, desired: SnapshotDesired, *, plan: bool = False
    ) -> Change:
        """Make sure that a snapshot is there, of this kind and with these labels, or that it is gone."""
        call = calls.put_snapshot(self._ns, snapshotter, key, plain(desired), plan=plan)
        return value(await self._pool.call(call), Change)

    async def delete(self, snapshotter: str, key: str) -> None:
        await self._pool.call(calls.delete_snapshot(self._ns, snapshotter, key))

    def diff(
        self, snapshotter: str, key: str, wanted: SnapshotDiff | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Give the bytes of the layer that a snapshot adds to its parent or to another."""
        call = calls.snapshot_diff(self._ns, snapshotter, key, plain(wanted or SnapshotDiff()))
        return open_bytes(self._pool, call)


class Leases(Noun):
    async def list(self, filters: Sequence[str] = ()) -> list[Lease]:
        return values(await self._pool.call(calls.leases(self._ns, filters)), Lease)

    async def create(
        self,
        id: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        expire_seconds: float | None = None,
    ) -> Lease:
        call = calls.create_lease(self._ns, id, dict(labels or {}), expire_seconds)
        return value(await self._pool.call(call), Lease)

    async def put(self, id: str, desired: LeaseDesired, *, plan: bool = False) -> Change:
        """Make sure that a lease exists and holds these things, or that it is gone."""
        return value(await self._pool.call(calls.put_lease(self._ns, id, plain(desired), plan=plan)), Change)

    async def get(self, id: str) -> Lease:
        return value(await self._pool.call(upkeep_calls.lease(self._ns, id)), Lease)

    async def delete(self, id: str, *, sync: bool = False) -> None:
        """End a lease; with `sync`, what it alone kept is collected when this returns."""
        await self._pool.call(upkeep_calls.delete_lease(self._ns, id, sync=sync))

    async def resources(self, id: str) -> Sequence[LeaseResource]:
        """Return what a lease holds."""
        return values(await self._pool.call(upkeep_calls.lease_resources(self._ns, id)), LeaseResource)

    async def add(self, id: str, resource: LeaseResource) -> None:
        """Have a lease hold something, which need not be there yet."""
        await self._pool.call(upkeep_calls.add_to_lease(self._ns, id, resource.type, resource.id))

    async def drop(self, id: str, resource: LeaseResource) -> None:
        """Have a lease let go of something, whether or not it holds it."""
        await self._pool.call(upkeep_calls.drop_from_lease(self._ns, id, resource.type, resource.id))


class Operations(Noun):
    async def list(self) -> list[OperationView]:
        return values(await self._pool.call(calls.operations(self._ns)), OperationView)

    async def get(self, id: str) -> OperationView:
        return value(await self._pool.call(calls.operation(self._ns, id)), OperationView)

    async def cancel(self, id: str) -> None:
        await self._pool.call(calls.cancel_operation(self._ns, id))

    def progress(self, id: str) -> AbstractAsyncContextManager[Stream[Progress]]:
        """Give the state of an operation with all its objects, then what changes, until its end."""
        return open_stream(self._pool, calls.operation_progress(self._ns, id), _progress)


class Policy(Noun):
    async def view(self) -> PolicyView:
        """Return the image policy in force on the node."""
        return value(await self._pool.call(calls.policy()), PolicyView)

    async def check(
        self, reference: str, *, plain_http: bool = False, auth: RegistryAuth | None = None
    ) -> PolicyAnswer:
        """Say whether the policy lets an image be used in this namespace; nothing is changed."""
        question = PolicyQuestion(reference, plain_http, auth)
        return value(await self._pool.call(calls.check_policy(self._ns, plain(question))), PolicyAnswer)


def _progress(raw: Any) -> Progress:
    """Take a progress line, bare or wrapped as in the stream of long work."""
    if isinstance(raw, dict) and isinstance(raw.get("progress"), dict):
        raw = raw["progress"]
    return line_of(Progress)(raw)
