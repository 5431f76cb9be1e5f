"""A client's session with one ingest: as a writer, but one that may begin at the end of a known blob."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import trio
from attrs import define, field

from tricorn.errors import Aborted, FailedPrecondition, Unavailable
from tricorn.model.ids import Digest
from tricorn.model.records import ContentInfo
from tricorn.store.content_writer import IngestWriter


@define
class IngestSession:
    """Made by `ContentStore.session` only; one task at a time.

    When another namespace shares the expected blob, the session stands at that blob's end: a commit gives
    the namespace the blob without an upload, and a write goes on behind a copy of it, as in containerd.
    """

    started_at: datetime
    total: int
    _writer: IngestWriter
    _shared: ContentInfo | None = None

    @property
    def offset(self) -> int:
        return self._shared.size if self._shared else self._writer.offset

    @property
    def digest(self) -> Digest:
        """Of the bytes so far."""
        return self._shared.digest if self._shared else self._writer.digest

    async def write(self, data: bytes) -> None:
        """Append `data`. ResourceExhausted on a full disk."""
        if self._shared:
            await self._writer.copy(self._shared)
            self._shared = None
        await self._writer.write(data)

    async def truncate(self) -> None:
        """Drop all bytes and start at offset 0."""
        self._shared = None
        await self._writer.truncate()

    async def commit(
        self, *, size: int | None, expected: Digest | None, labels: Mapping[str, str]
    ) -> ContentInfo:
        """Turn the bytes into a blob of the namespace: FailedPrecondition for a wrong size or digest (the
        bytes stay), AlreadyExists if the namespace has the blob (the ingest is gone).
        """
        blob = self._shared
        if blob is None:
            return await self._writer.commit(size=size, expected=expected, labels=labels)
        if size is not None and size != blob.size:
            raise FailedPrecondition(
                "the blob has the wrong size", why=f"{blob.size} bytes, expected {size}", field="size"
            )
        if expected is not None and expected != blob.digest:
            raise FailedPrecondition(
                f"the blob isn't {expected}", why=f"its digest is {blob.digest}", field="digest"
            )
        return await self._writer.adopt(blob, labels)

    async def discard(self) -> None:
        """Drop the ingest: its bytes are of no more use."""
        await self._writer.discard()


@define(eq=False)
class Hold:
    """That somebody writes an ingest. Only holds with a scope can be ended from outside."""

    scope: trio.CancelScope | None = None
    ended: trio.Event = field(factory=trio.Event)

    async def end(self, ref: str, seconds: float) -> None:
        """Cancel the holder and wait until it has let go. Unavailable if it can't be ended, or doesn't."""
        if self.scope is not None:
            self.scope.cancel()
            with trio.move_on_after(seconds):
                await self.ended.wait()
        if not self.ended.is_set():
            raise Unavailable(f"ingest {ref} has a writer", hint="end the transfer that writes it")


def aborted(ref: str) -> Aborted:
    return Aborted(f"ingest {ref} was aborted", why="another call dropped it while it was being written")
