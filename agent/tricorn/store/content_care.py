"""What becomes of blobs whose files are no longer what their digests say."""

from __future__ import annotations

import os

import trio

from tricorn.failpoints import failpoint
from tricorn.model.ids import Digest
from tricorn.model.records import QuarantinedBlob
from tricorn.store.blob_files import BlobFiles, quarantine_name
from tricorn.store.db import Database
from tricorn.store.quarantine import Damage
from tricorn.store.verify import BlobReading


class ContentCare:
    """The part of the content store that doubts it. `suspects` are blobs that a reader found damaged."""

    def __init__(self, files: BlobFiles, db: Database, limiter: trio.CapacityLimiter) -> None:
        self._files = files
        self._db = db
        self._limiter = limiter
        self.suspects: set[Digest] = set()

    def doubt(self, digest: Digest) -> None:
        """Have a blob verified soon: something that read it says that it is damaged."""
        self.suspects.add(digest)

    def reading(self, digest: Digest, size: int) -> BlobReading:
        """Return what reads a blob's file again to verify it; its calls block."""
        return BlobReading(self._files.blob(digest), digest, size)

    async def quarantine(self, reading: BlobReading) -> list[str]:
        """Take the blob that `reading` has found damaged out of service in all namespaces, and its file
        aside; return the namespaces. Nothing happens to one that was replaced meanwhile.
        """
        path, name = self._files.blob(reading.digest), ""
        if reading.identity is not None:
            name = quarantine_name(reading.digest)
        if await trio.to_thread.run_sync(_identity, path, limiter=self._limiter) != reading.identity:
            return []
        damage = Damage(reading.digest, reading.size, reading.damage, name)
        with trio.CancelScope(shield=True):
            namespaces = await self._db.write(lambda tx: tx.quarantine.put(damage))
            failpoint("quarantine.recorded")
            if namespaces:
                await trio.to_thread.run_sync(
                    self._files.quarantine, reading.digest, reading.identity, limiter=self._limiter
                )
            failpoint("quarantine.moved")
        self.suspects.discard(reading.digest)
        return namespaces

    async def release_quarantined(self, digest: Digest) -> QuarantinedBlob:
        """Forget a blob in quarantine and remove its file. NotFound."""
        found = await self._db.write(lambda tx: tx.quarantine.remove(digest))
        if found.file:
            await trio.to_thread.run_sync(self._files.remove_quarantined, found.file, limiter=self._limiter)
        return found

    async def sweep_quarantine(self) -> int:
        """Remove the files in quarantine that no record speaks of; return how many there were."""
        files = await trio.to_thread.run_sync(self._files.quarantined, limiter=self._limiter)
        known = await self._db.read(lambda tx: tx.quarantine.files())
        unknown = [name for name in files if name not in known]
        for name in unknown:
            await trio.to_thread.run_sync(self._files.remove_quarantined, name, limiter=self._limiter)
        return len(unknown)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
