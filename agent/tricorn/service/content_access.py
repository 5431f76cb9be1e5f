"""Blobs and transfers as containerd's content service has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from tricorn.errors import OutOfRange
from tricorn.model.filters import select
from tricorn.model.ids import Digest
from tricorn.model.records import ContentInfo, IngestStatus
from tricorn.model.requests import Change, ContentDesired
from tricorn.rules.label_masks import label_changes_of
from tricorn.service import content_states
from tricorn.service.content_writes import Writing
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.open_blobs import SMALL, OpenBlob
from tricorn.store.transaction import Transaction

READ_SIZE: Final = 1 << 20  # bytes of a blob in memory at a time
__all__ = ["SMALL", "BlobReader", "BlobService"]


class BlobReader:
    """Reads a part of a blob in order; made by `BlobService.reader`. One task at a time."""

    def __init__(self, blob: OpenBlob, offset: int, size: int) -> None:
        self._blob = blob
        self._offset = offset
        self.left = size  # bytes

    async def read(self) -> bytes | memoryview:
        """Return the next bytes, at most READ_SIZE; none at the end. DataLoss if the file is too short."""
        data = await self._blob.read(self._offset, min(READ_SIZE, self.left))
        self._offset += len(data)
        self.left -= len(data)
        return data


class BlobService:
    """`lease` is the lease that a call runs under, "" for none."""

    def __init__(self, db: Database, content: ContentStore) -> None:
        self._db = db
        self._content = content

    # -- blobs
    async def info(self, namespace: str, digest: str) -> ContentInfo:
        """NotFound, InvalidArgument for what isn't a digest (as all methods here)."""
        return await self._content.info(namespace, Digest.parse(digest))

    async def update(
        self, namespace: str, digest: str, labels: Mapping[str, str], paths: Sequence[str] = ()
    ) -> ContentInfo:
        """Change the labels that `paths` name, all of them without paths. NotFound, InvalidArgument."""
        checked = Digest.parse(digest, "info.digest")

        def change(tx: Transaction) -> ContentInfo:
            current = tx.content.get(namespace, checked).labels
            changes = label_changes_of(current, labels, paths, f"content {checked}")
            return tx.content.update_labels(namespace, checked, changes)

        return await self._db.write(change)

    async def put(
        self, namespace: str, digest: str, desired: ContentDesired, *, plan: bool = False
    ) -> Change:
        """Make sure that a blob has these labels (NotFound without it), or isn't in the namespace."""
        step = content_states.step(namespace, Digest.parse(digest), desired, plan=plan)
        return await (self._db.read(step) if plan else self._db.write(step))

    async def delete(self, namespace: str, digest: str, *, lease: str = "") -> None:
        """Take the blob from the namespace and the lease; its bytes go with the next collection. NotFound."""
        checked = Digest.parse(digest)

        def remove(tx: Transaction) -> None:
            tx.content.delete(namespace, checked)
            tx.leases.release(namespace, lease, "content", checked)

        await self._db.write(remove)

    async def open(self, namespace: str, digest: str) -> tuple[str, int]:
        """Return the path and size in bytes of a blob that the namespace has. NotFound."""
        info = await self.info(namespace, digest)
        return self._content.blob_path(info.digest), info.size

    @asynccontextmanager
    async def reader(
        self, namespace: str, digest: str, *, offset: int = 0, size: int = 0
    ) -> AsyncIterator[BlobReader]:
        """Open a blob to read `size` bytes (0 or less: all) from `offset`; it ends where the blob does.

        OutOfRange for an offset beyond the end, NotFound. Deleting the blob meanwhile disturbs nothing.
        """
        offset = max(offset, 0)
        async with self._content.open(namespace, Digest.parse(digest)) as blob:
            left = blob.info.size - offset
            if left < 0:
                raise OutOfRange(
                    f"offset {offset} is beyond the end of content {digest}",
                    why=f"it has {blob.info.size} bytes",
                )
            yield BlobReader(blob, offset, min(size, left) if size > 0 else left)

    # -- transfers
    async def status(self, namespace: str, ref: str) -> IngestStatus:
        """NotFound."""
        return await self._content.status(namespace, ref)

    async def statuses(self, namespace: str, filters: Sequence[str] = ()) -> list[IngestStatus]:
        """Return the transfers under way or left over that any filter (on `ref`) matches, by ref."""
        return select(filters, await self._content.statuses(namespace))

    async def abort(self, namespace: str, ref: str) -> None:
        """End a transfer and drop its bytes. NotFound; Unavailable for one of the agent's own."""
        await self._content.abort(namespace, ref)

    @asynccontextmanager
    async def writing(
        self, namespace: str, ref: str, *, total: int = 0, expected: str = "", lease: str = ""
    ) -> AsyncIterator[Writing]:
        """Begin or resume the transfer `ref`; without a lease it is kept for 24 hours.

        AlreadyExists when the namespace has the blob `expected` (the lease gets it); Unavailable while
        somebody else writes the ref; Aborted when it is aborted meanwhile; NotFound for the lease.
        """
        digest = Digest.parse(expected, "expected") if expected else None
        async with self._content.session(
            namespace, ref, total=max(total, 0), expected=digest, lease=lease
        ) as session:
            yield Writing(self._db, namespace, lease, session, digest)

    # -- last: its name hides the type
    async def list(self, namespace: str, filters: Sequence[str] = ()) -> list[ContentInfo]:
        """Return the blobs that any filter (on `digest`, `size`, `labels`) matches, by digest."""
        return await self._content.list(namespace, filters)
