"""The writer of one ingest: bytes in, a recorded blob out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import trio
from attrs import define

from tricorn.errors import AlreadyExists, DataLoss, FailedPrecondition
from tricorn.failpoints import failpoint
from tricorn.model import ids
from tricorn.model.checkpoints import PRIVATE
from tricorn.model.ids import Digest
from tricorn.model.records import ContentInfo
from tricorn.store.blob_files import BlobFiles
from tricorn.store.db import Database
from tricorn.store.ingest_file import IngestFile
from tricorn.store.transaction import Transaction

_COPY: Final = 4 << 20


@define
class IngestWriter:
    """ports.ContentWriter. One task at a time; made by `ContentStore.writer` only."""

    namespace: str
    ref: str
    lease: str
    _file: IngestFile
    _files: BlobFiles
    _db: Database
    _limiter: trio.CapacityLimiter
    _room: int | None = None  # bytes that the namespace's budget has for it, None: any
    _done: bool = False

    @property
    def offset(self) -> int:
        return self._file.offset

    @property
    def path(self) -> str:
        return self._file.path

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`. ResourceExhausted on a full disk (what fitted is kept, see `offset`) and beyond the
        namespace's budget.
        """
        self._check_open()
        if self._room is not None and self.offset + len(data) > self._room:
            await self._check_budget(self.offset + len(data))
        await trio.to_thread.run_sync(self._file.write, data, limiter=self._limiter)

    async def _check_budget(self, size: int) -> None:
        """Look again: something may have been removed since the transfer began."""

        def look(tx: Transaction) -> int | None:
            tx.budgets.admit_bytes(self.namespace, size, ref=self.ref)
            return tx.budgets.room(self.namespace, self.ref)

        self._room = await self._db.read(look)

    @property
    def digest(self) -> Digest:
        """Of the bytes so far."""
        return self._file.digest

    async def truncate(self) -> None:
        self._check_open()
        await trio.to_thread.run_sync(self._file.truncate, limiter=self._limiter)

    async def commit(
        self,
        *,
        size: int | None = None,
        expected: Digest | None = None,
        labels: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> ContentInfo:
        """Turn the bytes into a blob of the namespace; if not `durable`, a loss of power may leave the file
        without its record until the next change that is.

        FailedPrecondition for a wrong size or digest (the bytes stay); AlreadyExists if the namespace has
        the blob (the lease gets it all the same, and the ingest is gone). Once the blob is in place the
        record is made even if the caller is cancelled.
        """
        self._check_open()
        checked = ids.labels(labels or {})
        if expected is not None:
            expected = Digest.parse(expected, "expected")
        digest = await trio.to_thread.run_sync(
            self._file.sync_and_verify, size, expected, limiter=self._limiter
        )
        with self._files.hold(self._files.blob(digest)), trio.CancelScope(shield=True):
            self._file.secret = PRIVATE in checked
            await trio.to_thread.run_sync(self._place, digest, limiter=self._limiter)
            self._done = True
            size = self._file.offset
            info, existed = await self._db.write(
                lambda tx: self._record(tx, digest, checked, size), durable=durable
            )
            failpoint("content.recorded")
        if existed:
            raise AlreadyExists(f"content {digest} exists already in namespace {self.namespace}")
        return info

    async def adopt(self, blob: ContentInfo, labels: Mapping[str, str]) -> ContentInfo:
        """Give the namespace a blob that another one has, in place of this ingest's bytes.

        The caller holds the blob's file. AlreadyExists as for `commit`.
        """
        self._check_open()
        checked = ids.labels(labels)
        with trio.CancelScope(shield=True):
            self._done = True
            info, existed = await self._db.write(lambda tx: self._record(tx, blob.digest, checked, blob.size))
            await trio.to_thread.run_sync(
                self._files.remove_ingest, self._file.directory, limiter=self._limiter
            )
        if existed:
            raise AlreadyExists(f"content {blob.digest} exists already in namespace {self.namespace}")
        return info

    async def copy(self, blob: ContentInfo) -> None:
        """Begin anew with the bytes of a blob, whose file the caller holds."""
        await self.truncate()
        path = self._files.blob(blob.digest)
        while self.offset < blob.size:
            count = min(_COPY, blob.size - self.offset)
            if not await trio.to_thread.run_sync(
                self._file.append_from, path, self.offset, count, limiter=self._limiter
            ):
                raise DataLoss(f"the file of content {blob.digest} is too short")

    async def discard(self) -> None:
        """Drop the ingest with its bytes; the writer is of no more use."""
        self._check_open()
        with trio.CancelScope(shield=True):
            self._done = True
            await self._db.write(lambda tx: tx.ingests.complete(self.namespace, self.ref))
            await trio.to_thread.run_sync(
                self._files.remove_ingest, self._file.directory, limiter=self._limiter
            )

    def _place(self, digest: Digest) -> None:
        self._file.move(self._files.blob(digest))
        self._files.remove_ingest(self._file.directory)

    def _record(
        self, tx: Transaction, digest: Digest, labels: Mapping[str, str], size: int
    ) -> tuple[ContentInfo, bool]:
        tx.ingests.complete(self.namespace, self.ref)
        found = tx.content.find(self.namespace, digest)
        if found is not None:
            tx.leases.protect(self.namespace, self.lease, "content", digest)
            return found, True
        return tx.content.create(self.namespace, digest, size, labels, lease=self.lease), False

    def _check_open(self) -> None:
        if self._done:
            raise FailedPrecondition(f"the writer of {self.ref} has committed")
