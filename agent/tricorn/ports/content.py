"""Blobs and the transfers that bring them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tricorn.model.ids import Digest
from tricorn.model.records import ContentInfo, IngestStatus


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
