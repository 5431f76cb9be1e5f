"""Blobs that were read a moment ago: clients read a blob in thousands of small parts.

A record is as good as read anew while nothing was written to the database since. The files are content-
addressed: a descriptor is good for as long as it is open.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Final

import trio
from attrs import define

from tricorn.errors import DataLoss, Internal, NotFound
from tricorn.model.ids import Digest
from tricorn.model.records import ContentInfo
from tricorn.store.blob_files import BlobFiles, file_errors
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

Key = tuple[str, Digest]  # namespace and digest
_KEPT: Final = 32
SMALL: Final = 128 << 10  # bytes that are copied from the page cache within the loop


@define(eq=False)
class OpenBlob:
    """A blob's record and file, open while somebody uses it. `read` may be called by many tasks."""

    info: ContentInfo
    descriptor: int
    _limiter: trio.CapacityLimiter
    mutations: int  # of the database when the record was read
    users: int = 0
    kept: bool = True

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Return up to `size` bytes from `offset`. DataLoss if the file is shorter than its record says."""
        size = min(size, self.info.size - offset)
        if size <= 0:
            return b""
        data: bytes | memoryview | None = None
        if size <= SMALL:
            data = _cached(self.descriptor, offset, size)
        if data is None:
            with file_errors(f"content {self.info.digest} could not be read"):
                data = await trio.to_thread.run_sync(
                    os.pread, self.descriptor, size, offset, limiter=self._limiter
                )
        if not data:
            raise DataLoss(
                f"the file of content {self.info.digest} is too short", why=f"it ends before byte {offset}"
            )
        return data

    def close_if_free(self) -> None:
        if not self.kept and not self.users:
            os.close(self.descriptor)


def _cached(descriptor: int, offset: int, size: int) -> memoryview | None:
    """Return bytes that can be had without waiting for a disk, if any."""
    buffer = bytearray(size)
    try:
        count = os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
    except OSError:  # not in memory, or a file system that can't tell
        return None
    return memoryview(buffer)[:count]


class OpenBlobs:
    """Opens blobs, and keeps the few that were read last open until the next sweep."""

    def __init__(
        self,
        files: BlobFiles,
        db: Database,
        limiter: trio.CapacityLimiter,
        doubt: Callable[[Digest], None] = lambda _: None,
    ) -> None:
        self._files = files
        self._db = db
        self._limiter = limiter
        self._doubt = doubt
        self._kept: OrderedDict[Key, OpenBlob] = OrderedDict()
        weakref.finalize(self, _forget, self._kept)

    @contextlib.asynccontextmanager
    async def open(self, namespace: str, digest: Digest) -> AsyncIterator[OpenBlob]:
        """Open a blob of the namespace for the length of the context. NotFound; DataLoss without a file."""
        key = namespace, digest
        blob = self._kept.get(key)
        if blob is None or blob.mutations != self._db.mutations:
            blob = await self._look_up(key)
        self._kept.move_to_end(key)
        blob.users += 1
        try:
            yield blob
        finally:
            blob.users -= 1
            blob.close_if_free()

    async def _look_up(self, key: Key) -> OpenBlob:
        """Read the record (anew), and open the file if it isn't open."""
        mutations = self._db.mutations
        path = None if key in self._kept else self._files.blob(key[1])
        descriptor: int | None = None
        try:
            if path is None:
                info = await self._db.look(lambda tx: tx.content.get(*key))
            else:  # opening the file may have to wait for the disk
                info, descriptor = await self._db.read(lambda tx: _open(tx, key, path))
        except NotFound:
            _drop(self._kept, key)
            raise
        except DataLoss:
            self._doubt(key[1])
            raise
        if descriptor is None and key not in self._kept:
            return await self._look_up(key)  # it was let go of meanwhile
        if descriptor is not None:
            _drop(self._kept, key)  # another task may have been faster
            self._kept[key] = OpenBlob(info, descriptor, self._limiter, mutations)
            while len(self._kept) > _KEPT:
                _drop(self._kept, next(iter(self._kept)))
        blob = self._kept[key]
        blob.info, blob.mutations = info, mutations
        return blob

    def known(self, namespace: str, digest: Digest) -> ContentInfo | None:
        """Return the blob's record if it is at hand and nothing was written since it was read."""
        blob = self._kept.get((namespace, digest))
        return blob.info if blob and blob.mutations == self._db.mutations else None

    async def forget_removed(self) -> None:
        """Let go of the files that were removed or put elsewhere, so that they free their blocks."""
        kept = [(key, blob.descriptor, self._files.blob(key[1])) for key, blob in self._kept.items()]
        for key in await trio.to_thread.run_sync(_removed, kept, limiter=self._limiter):
            _drop(self._kept, key)


def _open(tx: Transaction, key: Key, path: str) -> tuple[ContentInfo, int]:
    info = tx.content.get(*key)
    try:
        with file_errors(f"content {info.digest} could not be read"):
            return info, os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except Internal as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise DataLoss(
                f"the file of content {info.digest} is missing",
                hint="`tricorn content scrub --now` takes it out of service, then pull the image again",
            ) from error
        raise


def _removed(kept: list[tuple[Key, int, str]]) -> list[Key]:
    return [key for key, descriptor, path in kept if not _is_at(descriptor, path)]


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _drop(kept: OrderedDict[Key, OpenBlob], key: Key) -> None:
    blob = kept.pop(key, None)
    if blob is not None:
        blob.kept = False
        blob.close_if_free()


def _forget(kept: OrderedDict[Key, OpenBlob]) -> None:
    for key in list(kept):
        _drop(kept, key)
