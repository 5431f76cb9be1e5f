"""The content store: blobs by digest, shared by all namespaces that have a record of them."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal

import trio

from tricorn import limits
from tricorn.errors import AlreadyExists, DataLoss, InvalidArgument, ResourceExhausted, Unavailable
from tricorn.failpoints import failpoint
from tricorn.model import ids
from tricorn.model.ids import Digest
from tricorn.model.records import ContentInfo, IngestStatus
from tricorn.ports import Clock
from tricorn.store.blob_files import BlobFiles, Removed, file_errors
from tricorn.store.codec import to_time
from tricorn.store.content_care import ContentCare
from tricorn.store.content_session import Hold, IngestSession, aborted
from tricorn.store.content_writer import IngestWriter
from tricorn.store.db import Database
from tricorn.store.ingest_file import IngestFile
from tricorn.store.ingests import IngestRecord
from tricorn.store.open_blobs import OpenBlob, OpenBlobs
from tricorn.store.transaction import Transaction

_REF_LENGTH: Final = 1024
_THREADS: Final = 2 * (os.cpu_count() or 1) + 2  # hashing keeps cores busy, fsync and write wait


class ContentStore(ContentCare):
    """ports.ContentStore on files below `root` and records in `db`.

    `policy` says whether a namespace gets a blob by naming its digest when another namespace has it
    (`shared`), or only when that one is labelled `containerd.io/namespace.shareable=true` (`isolated`).
    """

    def __init__(
        self, root: str, db: Database, clock: Clock, *, policy: Literal["shared", "isolated"] = "shared"
    ) -> None:
        super().__init__(BlobFiles(root), db, trio.CapacityLimiter(_THREADS))
        self._clock = clock
        self._isolated = policy == "isolated"
        self._writers: dict[tuple[str, str], Hold] = {}
        self._sweeping = trio.Lock()
        self._opened = OpenBlobs(self._files, db, self._limiter, self.doubt)

    # -- blobs
    async def info(self, namespace: str, digest: Digest) -> ContentInfo:
        """NotFound if the namespace doesn't have it."""
        if (known := self._opened.known(namespace, digest)) is not None:
            return known
        return await self._db.look(lambda tx: tx.content.get(namespace, digest))

    async def update_labels(self, namespace: str, digest: Digest, labels: Mapping[str, str]) -> ContentInfo:
        """Merge `labels` in; an empty value deletes. NotFound."""
        return await self._db.write(lambda tx: tx.content.update_labels(namespace, digest, labels))

    async def delete(self, namespace: str, digest: Digest) -> None:
        """Take the blob from the namespace; its file goes in a later sweep. NotFound."""
        await self._db.write(lambda tx: tx.content.delete(namespace, digest))

    async def read(self, namespace: str, digest: Digest, *, limit: int) -> bytes:
        """Return the whole blob; ResourceExhausted if it has more than `limit` bytes, DataLoss if it
        isn't what its digest says.
        """
        info = await self.info(namespace, digest)
        if info.size > limit:
            raise ResourceExhausted(
                f"content {digest} is too large", why=f"{info.size} bytes, at most {limit} are read here"
            )
        return await trio.to_thread.run_sync(self._read, info, limiter=self._limiter)

    def _read(self, info: ContentInfo) -> bytes:
        try:
            return self._read_verified(info)
        except DataLoss:
            self.doubt(info.digest)
            raise

    def _read_verified(self, info: ContentInfo) -> bytes:
        hint = "`tricorn content scrub --now` takes it out of service, then pull the image again"
        with file_errors(f"content {info.digest} could not be read"):
            try:
                with open(self._files.blob(info.digest), "rb") as file:
                    data = file.read(info.size + 1)
            except FileNotFoundError as error:
                raise DataLoss(f"the file of content {info.digest} is missing", hint=hint) from error
        actual = hashlib.new(info.digest.algorithm, data).hexdigest()
        if actual != info.digest.hex:
            raise DataLoss(
                f"content {info.digest} is damaged on disk", why=f"it hashes to {actual}", hint=hint
            )
        return data

    def open(self, namespace: str, digest: Digest) -> AbstractAsyncContextManager[OpenBlob]:
        """Open a blob to read parts of it. NotFound; DataLoss if its file is missing."""
        return self._opened.open(namespace, digest)

    def blob_path(self, digest: Digest) -> str:
        """Where the blob is (or would be) on disk, whatever the namespace."""
        return self._files.blob(digest)

    # -- ingests
    @contextlib.asynccontextmanager
    async def writer(
        self, namespace: str, ref: str, *, total: int = 0, expected: Digest | None = None, lease: str = ""
    ) -> AsyncIterator[IngestWriter]:
        """Open the ingest `ref`, resuming it; see ports.ContentStore for what is raised when.

        Bytes that a power cut may have lost show up as a wrong digest at `commit`: truncate then.
        """
        ids.namespace(namespace)
        _check_ref(ref)
        expected = Digest.parse(expected, "expected") if expected is not None else None
        with self._only_writer(namespace, ref), self._files.hold(self._files.ingest(namespace, ref)):
            room = await self._begin(namespace, ref, total, expected, lease)
            async with self._open_ingest(namespace, ref, expected, lease, room, resume=True) as writer:
                yield writer

    @contextlib.asynccontextmanager
    async def session(
        self, namespace: str, ref: str, *, total: int = 0, expected: Digest | None = None, lease: str = ""
    ) -> AsyncIterator[IngestSession]:
        """Open the ingest `ref` for a client: as `writer`, except that a blob another namespace shares is
        linked by the commit only, and that `abort` ends the session (Aborted).

        AlreadyExists when `expected` is in the namespace; Unavailable while another writer holds the ref.
        """
        ids.namespace(namespace)
        _check_ref(ref)
        with trio.CancelScope() as scope, contextlib.ExitStack() as held:
            held.enter_context(self._only_writer(namespace, ref, scope))
            held.enter_context(self._files.hold(self._files.ingest(namespace, ref)))
            if expected is not None:
                held.enter_context(self._files.hold(self._files.blob(expected)))
            record, shared, room = await self._begin_session(namespace, ref, total, expected, lease)
            async with self._open_ingest(namespace, ref, expected, lease, room, resume=not shared) as writer:
                yield IngestSession(record.started_at, record.total, writer, shared)
        if scope.cancelled_caught:
            raise aborted(ref)

    async def _begin_session(
        self, namespace: str, ref: str, total: int, expected: Digest | None, lease: str
    ) -> tuple[IngestRecord, ContentInfo | None, int | None]:
        def begin(tx: Transaction) -> tuple[IngestRecord, ContentInfo | None, int | None] | None:
            shared = None
            if expected is not None:
                if tx.content.find(namespace, expected):
                    tx.leases.protect(namespace, lease, "content", expected)
                    return None
                shared = tx.content.elsewhere(expected, isolated=self._isolated)
            usable = shared is not None and total in {0, shared.size}
            record = tx.ingests.open(namespace, ref, total, expected, lease=lease)
            return record, shared if usable else None, tx.budgets.room(namespace, ref)

        begun = await self._db.write(begin, durable=False)
        if begun is None:
            raise AlreadyExists(f"content {expected} exists already in namespace {namespace}")
        failpoint("content.begun")
        return begun

    @contextlib.asynccontextmanager
    async def _open_ingest(
        self, namespace: str, ref: str, expected: Digest | None, lease: str, room: int | None, *, resume: bool
    ) -> AsyncIterator[IngestWriter]:
        algorithm = expected.algorithm if expected else "sha256"
        file = await trio.to_thread.run_sync(
            IngestFile, self._files.ingest(namespace, ref), f"{namespace} {ref}", algorithm,
            limiter=self._limiter,
        )  # fmt: skip
        try:
            while resume and await trio.to_thread.run_sync(file.rehash, limiter=self._limiter):
                pass
            yield IngestWriter(namespace, ref, lease, file, self._files, self._db, self._limiter, room)
        finally:
            file.close()

    @contextlib.contextmanager
    def _only_writer(self, namespace: str, ref: str, scope: trio.CancelScope | None = None) -> Iterator[None]:
        key = namespace, ref
        if key in self._writers:
            raise Unavailable(
                f"ingest {ref} has a writer already", hint="wait for it to end, then ask for the blob again"
            )
        hold = self._writers[key] = Hold(scope)
        try:
            yield
        finally:
            del self._writers[key]
            hold.ended.set()

    async def _begin(
        self, namespace: str, ref: str, total: int, expected: Digest | None, lease: str
    ) -> int | None:
        """Return how many bytes the budget has room for, None for any."""

        def begin(tx: Transaction) -> tuple[bool, int | None]:
            if expected is not None and tx.content.share(
                namespace, expected, lease=lease, isolated=self._isolated
            ):
                return True, None
            tx.ingests.open(namespace, ref, total, expected, lease=lease)
            return False, tx.budgets.room(namespace, ref)

        # The answer is raised out here: inside, it would undo what the lease and the namespace have got.
        known, room = await self._db.write(begin, durable=False)
        if known:
            raise AlreadyExists(f"content {expected} exists already in namespace {namespace}")
        failpoint("content.begun")
        return room

    async def statuses(self, namespace: str) -> list[IngestStatus]:
        """Return the transfers under way or left over, by ref."""
        records = await self._db.read(lambda tx: tx.ingests.list(namespace))
        return await trio.to_thread.run_sync(
            lambda: [self._status(namespace, record) for record in records], limiter=self._limiter
        )

    async def status(self, namespace: str, ref: str) -> IngestStatus:
        """Return one transfer's status. NotFound."""
        record = await self._db.look(lambda tx: tx.ingests.get(namespace, ref))
        return await trio.to_thread.run_sync(self._status, namespace, record, limiter=self._limiter)

    def _status(self, namespace: str, record: IngestRecord) -> IngestStatus:
        try:
            found = os.stat(os.path.join(self._files.ingest(namespace, record.ref), "data"))
            offset, updated = found.st_size, to_time(found.st_mtime_ns // 1000)
        except FileNotFoundError:
            offset, updated = 0, record.updated_at
        return IngestStatus(record.ref, offset, record.total, record.expected, record.started_at, updated)

    async def abort(self, namespace: str, ref: str) -> None:
        """Drop an ingest and its bytes; NotFound. A session that writes it ends with Aborted; Unavailable
        while a writer of the agent's own holds it.
        """
        if (held := self._writers.get((namespace, ref))) is not None:
            await held.end(ref, limits.CLEANUP_DEADLINE)
        directory = self._files.ingest(namespace, ref)
        with self._only_writer(namespace, ref), self._files.hold(directory):
            await self._db.write(lambda tx: tx.ingests.delete(namespace, ref))
            await trio.to_thread.run_sync(self._files.remove_ingest, directory, limiter=self._limiter)

    @property
    def active(self) -> frozenset[tuple[str, str]]:
        """(namespace, ref) of every ingest that has a writer now."""
        return frozenset(self._writers)

    # -- sweeping
    async def sweep(self) -> Removed:
        """Remove the files of blobs that no namespace has, and ingests that expired or have no record.

        Writers may come and go meanwhile: what they hold or held since the sweep began is left alone.
        """
        async with self._sweeping:
            await self._db.write(self._expire_ingests)
            self._files.begin_sweep()
            digests, ingests = await self._db.read(lambda tx: (tx.content.digests(), tx.ingests.list_all()))
            keep = {self._files.ingest(namespace, record.ref) for namespace, record in ingests}
            removed = await trio.to_thread.run_sync(self._sweep, digests, keep, limiter=self._limiter)
            await self._opened.forget_removed()
            return removed

    async def unrecorded(self, recorded: Collection[str]) -> tuple[tuple[str, int], ...]:
        """Return (digest, size) of the files that a sweep would remove if only `recorded` had records."""
        return await trio.to_thread.run_sync(self._files.unrecorded, recorded, limiter=self._limiter)

    def _sweep(self, digests: set[str], keep: set[str]) -> Removed:
        with file_errors("content could not be swept"):
            return self._files.sweep(digests, keep)

    def _expire_ingests(self, tx: Transaction) -> None:
        for namespace, record in tx.ingests.list_all():
            expired = record.expires_at is not None and record.expires_at <= tx.now
            if expired and (namespace, record.ref) not in self._writers:
                tx.ingests.delete(namespace, record.ref)

    async def list(self, namespace: str, filters: Sequence[str] = ()) -> list[ContentInfo]:
        """Return the namespace's blobs that any of the filters matches, by digest."""
        return await self._db.read(lambda tx: tx.content.list(namespace, filters))


def _check_ref(ref: str) -> None:
    if not ref or len(ref) > _REF_LENGTH:
        raise InvalidArgument(
            "an ingest's ref is malformed",
            why="it is empty" if not ref else f"{len(ref)} characters, at most {_REF_LENGTH}",
            field="ref",
        )
