"""The writer of one ingest: bytes in, a recorded blob out."""

from __future__ import annotations

from collections.abc import Mapping

import trio
from attrs import define

from tricorn.errors import AlreadyExists, FailedPrecondition
from tricorn.failpoints import failpoint
from tricorn.model import ids
from tricorn.model.ids import Digest
from tricorn.model.records import ContentInfo
from tricorn.store.blob_files import BlobFiles
from tricorn.store.db import Database
from tricorn.store.ingest_file import IngestFile
from tricorn.store.transaction import Transaction


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
    _done: bool = False

    @property
    def offset(self) -> int:
        return self._file.offset

    @property
    def path(self) -> str:
        return self._file.path

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`. ResourceExhausted on a full disk: what fitted is kept, see `offset`."""
        self._check_open()
        await trio.to_thread.run_sync(self._file.write, data, limiter=self._limiter)

    async def truncate(self) -> None:
        self._check_open()
        await trio.to_thread.run_sync(self._file.truncate, limiter=self._limiter)

    async def commit(
        self,
        *,
        size: int | None = None,
        expected: Digest | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> ContentInfo:
        """Turn the bytes into a blob of the namespace.

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
            await trio.to_thread.run_sync(self._place, digest, limiter=self._limiter)
            self._done = True
            info, existed = await self._db.write(lambda tx: self._record(tx, digest, checked))
            failpoint("content.recorded")
        if existed:
            raise AlreadyExists(f"content {digest} exists already in namespace {self.namespace}")
        return info

    def _place(self, digest: Digest) -> None:
        self._file.move(self._files.blob(digest))
        self._files.remove_ingest(self._file.directory)

    def _record(self, tx: Transaction, digest: Digest, labels: Mapping[str, str]) -> tuple[ContentInfo, bool]:
        if tx.ingests.find(self.namespace, self.ref):
            tx.ingests.delete(self.namespace, self.ref)
        found = tx.content.find(self.namespace, digest)
        if found is not None:
            tx.leases.protect(self.namespace, self.lease, "content", digest)
            return found, True
        size = self._file.offset
        return tx.content.create(self.namespace, digest, size, labels, lease=self.lease), False

    def _check_open(self) -> None:
        if self._done:
            raise FailedPrecondition(f"the writer of {self.ref} has committed")
