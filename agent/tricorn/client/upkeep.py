"""The client's methods for verification and quarantine of content. All raise `tricorn.errors`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from tricorn.client import upkeep_calls as calls
from tricorn.client.connection import Pool
from tricorn.client.stream import Work, open_work
from tricorn.client.values import value, values
from tricorn.model.records import QuarantinedBlob
from tricorn.model.scrubbing import BlobCheck, ScrubReport, ScrubStatus


class Scrub:
    """Whether blobs on disk still are what their digests say; of all namespaces but for `check`."""

    def __init__(self, pool: Pool, namespace: str) -> None:
        self._pool = pool
        self._ns = namespace

    async def status(self) -> ScrubStatus:
        return value(await self._pool.call(calls.scrub_status()), ScrubStatus)

    async def run(self, *, namespace: str = "", keep_orphans: bool = False) -> ScrubReport:
        """Verify all blobs (of one namespace, if it is given) now; cancelled with the caller."""
        call = calls.scrub(namespace=namespace, keep_orphans=keep_orphans)
        return value(await self._pool.call(call), ScrubReport)

    def work(
        self, *, namespace: str = "", keep_orphans: bool = False
    ) -> AbstractAsyncContextManager[Work[ScrubReport]]:
        """Like `run`, with the progress to iterate over."""
        call = calls.scrub(namespace=namespace, keep_orphans=keep_orphans, stream=True)
        return open_work(self._pool, call, lambda raw: value(raw, ScrubReport))

    async def quarantine(self) -> list[QuarantinedBlob]:
        """Return the blobs that were taken out of service."""
        return values(await self._pool.call(calls.quarantine()), QuarantinedBlob)

    async def fetch(self, digest: str) -> QuarantinedBlob:
        """Bring a blob in quarantine back from where its labels say it came from."""
        return value(await self._pool.call(calls.fetch_quarantined(digest)), QuarantinedBlob)

    async def release(self, digest: str, *, force: bool = False) -> QuarantinedBlob:
        """Remove a blob from quarantine; with `force` although namespaces still miss it."""
        return value(await self._pool.call(calls.release_quarantined(digest, force=force)), QuarantinedBlob)

    async def check(self, digest: str) -> BlobCheck:
        """Tell when a blob of the client's namespace was last verified."""
        return value(await self._pool.call(calls.blob_check(self._ns, digest)), BlobCheck)
