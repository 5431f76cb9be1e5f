"""The client's methods, one class per noun of the API. All raise `tricorn.errors`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from tricorn.client import calls, upkeep_calls
from tricorn.client.connection import Pool
from tricorn.client.stream import Stream, line_of, open_bytes, open_stream
from tricorn.client.values import plain, value, values
from tricorn.model.image_requests import SnapshotDiff
from tricorn.model.policy import PolicyAnswer, PolicyQuestion, PolicyView
from tricorn.model.records import ContentInfo, Lease, LeaseResource, Namespace, Snapshot
from tricorn.model.requests import (
    Change,
    ContentDesired,
    LeaseDesired,
    OperationView,
    Progress,
    RegistryAuth,
    SnapshotDesired,
)
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


class Content(Noun):
    async def list(self, filters: Sequence[str] = ()) -> list[ContentInfo]:
        return values(await self._pool.call(calls.content(self._ns, filters)), ContentInfo)

    async def get(self, digest: str) -> ContentInfo:
        return value(await self._pool.call(calls.blob(self._ns, digest)), ContentInfo)

    def open(self, digest: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Give the blob's bytes, chunk by chunk."""
        return open_bytes(self._pool, calls.blob_data(self._ns, digest))

    async def put(self, digest: str, desired: ContentDesired, *, plan: bool = False) -> Change:
        """Make sure that a blob has these labels, or that the namespace doesn't have it."""
        return value(
            await self._pool.call(calls.put_blob(self._ns, digest, plain(desired), plan=plan)), Change
        )

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
