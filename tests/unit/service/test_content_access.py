"""Blobs and transfers as clients of containerd's content service see them."""

# ruff: noqa: ASYNC240 - a test may look at the disk itself

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tricorn.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    Unavailable,
)
from tricorn.model.ids import Digest
from tricorn.model.records import LeaseResource
from tricorn.model.requests import ContentDesired
from tricorn.service.content_access import READ_SIZE, BlobService
from tricorn.service.content_writes import WriteAction, WriteRequest
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn_testing.clock import HandClock

NS = "testing"
DATA = random.Random(7).randbytes(READ_SIZE + 4567)
DIGEST = Digest.of(DATA)
STAT, WRITE, COMMIT = WriteAction.STAT, WriteAction.WRITE, WriteAction.COMMIT
HOSTILE = [
    "", "sha256:", "sha256:../../../../etc/passwd", "../" + "a" * 64, "sha256:" + "A" * 64, "md5:" + "a" * 32,
    "sha256:" + "a" * 63 + "/", "sha256:" + "a" * 64 + "\n", "sha256:" + "a" * 64 + "\0",
]  # fmt: skip


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def db(tmp_path: Path, clock: HandClock) -> AsyncIterator[Database]:
    async with Database.open(str(tmp_path / "db" / "t.db"), clock) as database:
        yield database


@pytest.fixture
def store(tmp_path: Path, db: Database, clock: HandClock) -> ContentStore:
    return ContentStore(str(tmp_path / "content"), db, clock)


@pytest.fixture
def blobs(db: Database, store: ContentStore) -> BlobService:
    return BlobService(db, store)


async def put(blobs: BlobService, data: bytes = DATA, namespace: str = NS, lease: str = "", **labels) -> None:
    async with blobs.writing(namespace, "put", lease=lease) as writing:
        await writing.apply(WriteRequest(COMMIT, data=data, labels=labels))


async def read(blobs: BlobService, **part: int) -> bytes:
    async with blobs.reader(NS, DIGEST, **part) as reader:
        parts = []
        while data := await reader.read():
            assert len(data) <= READ_SIZE
            parts.append(data)
        return b"".join(parts)


class TestReading:
    @pytest.mark.parametrize(
        ("part", "wanted"),
        [
            ({}, DATA),
            ({"offset": 5}, DATA[5:]),
            ({"offset": 5, "size": 7}, DATA[5:12]),
            ({"offset": -1, "size": -1}, DATA),
            ({"offset": len(DATA) - 3, "size": 100}, DATA[-3:]),
            ({"offset": len(DATA)}, b""),
        ],
    )
    async def test_parts(self, blobs: BlobService, part: dict[str, int], wanted: bytes) -> None:
        await put(blobs)
        assert await read(blobs, **part) == wanted

    async def test_beyond_the_end(self, blobs: BlobService) -> None:
        await put(blobs)
        with pytest.raises(OutOfRange):
            await read(blobs, offset=len(DATA) + 1)

    async def test_of_other_namespaces_there_is_nothing(self, blobs: BlobService) -> None:
        await put(blobs, namespace="other")
        with pytest.raises(NotFound):
            await read(blobs)

    async def test_a_deleted_blob_is_read_to_its_end(self, blobs: BlobService, store: ContentStore) -> None:
        await put(blobs)
        async with blobs.reader(NS, DIGEST) as reader:
            first = await reader.read()
            await blobs.delete(NS, DIGEST)
            assert len((await store.sweep()).blobs) == 1
            assert first + await reader.read() == DATA

    async def test_lost_files_are_told(self, blobs: BlobService, store: ContentStore) -> None:
        await put(blobs)
        Path(store.blob_path(DIGEST)).unlink()
        with pytest.raises(DataLoss):
            await read(blobs)
        Path(store.blob_path(DIGEST)).write_bytes(DATA[:10])
        with pytest.raises(DataLoss):
            await read(blobs)


@pytest.mark.parametrize("digest", HOSTILE)
async def test_only_digests_name_blobs(blobs: BlobService, digest: str) -> None:
    with pytest.raises(InvalidArgument):
        await blobs.info(NS, digest)
    with pytest.raises(InvalidArgument):
        await blobs.update(NS, digest, {})
    with pytest.raises(InvalidArgument):
        await blobs.delete(NS, digest)
    with pytest.raises(InvalidArgument):
        async with blobs.reader(NS, digest):
            pass
    async with blobs.writing(NS, "r") as writing:
        if digest:
            with pytest.raises(InvalidArgument):
                await writing.apply(WriteRequest(COMMIT, data=b"x", expected=digest))
    if digest:
        with pytest.raises(InvalidArgument):
            async with blobs.writing(NS, "r", expected=digest):
                pass


class TestLabels:
    async def update(self, blobs: BlobService, labels: dict[str, str], *paths: str) -> dict[str, str]:
        info = await blobs.update(NS, DIGEST, labels, paths)
        assert info == await blobs.info(NS, DIGEST)
        return dict(info.labels)

    async def test_masks(self, blobs: BlobService, clock: HandClock) -> None:
        await put(blobs, a="1", b="2", empty="")
        created = await blobs.info(NS, DIGEST)
        assert created.labels == {"a": "1", "b": "2"}
        clock.time += timedelta(seconds=5)
        assert await self.update(blobs, {"a": "3", "c": "4"}, "labels.a") == {"a": "3", "b": "2"}
        assert await self.update(blobs, {}, "labels.a") == {"b": "2"}
        assert await self.update(blobs, {"x.y/z": "5"}, "labels.x.y/z", "labels.b") == {"x.y/z": "5"}
        assert await self.update(blobs, {"q": "6", "r": ""}, "labels") == {"q": "6"}
        assert await self.update(blobs, {"s": "7"}) == {"s": "7"}
        info = await blobs.info(NS, DIGEST)
        assert (info.created_at, info.updated_at) == (created.created_at, clock.now())

    async def test_nothing_else_changes(self, blobs: BlobService) -> None:
        await put(blobs)
        for path in ("size", "digest", "labels.", "created_at"):
            with pytest.raises(InvalidArgument, match="update"):
                await blobs.update(NS, DIGEST, {"a": "b"}, [path])
        with pytest.raises(NotFound):
            await blobs.update("other", DIGEST, {})
        with pytest.raises(InvalidArgument):
            await blobs.update(NS, DIGEST, {"a": "b" * 5000})

    async def test_lists_are_filtered(self, blobs: BlobService) -> None:
        await put(blobs, kind="big")
        await put(blobs, b"small")
        assert {item.digest for item in await blobs.list(NS)} == {DIGEST, Digest.of(b"small")}
        assert [item.size for item in await blobs.list(NS, ["labels.kind==big"])] == [len(DATA)]
        assert [item.size for item in await blobs.list(NS, ["size==5", "labels.kind==none"])] == [5]
        assert len(await blobs.list(NS, [""])) == 2


class TestWriting:
    async def test_stat_write_commit(self, blobs: BlobService, clock: HandClock) -> None:
        started = clock.now()
        async with blobs.writing(NS, "r", total=len(DATA)) as writing:
            state = await writing.apply(WriteRequest(STAT))
            assert (state.offset, state.total, state.digest) == (0, len(DATA), Digest.of(b""))
            clock.time += timedelta(seconds=1)
            state = await writing.apply(WriteRequest(WRITE, data=DATA[:100]))
            assert (state.offset, state.digest) == (100, Digest.of(DATA[:100]))
            state = await writing.apply(WriteRequest(WRITE, offset=100, data=DATA[100:]))
            state = await writing.apply(WriteRequest(STAT))
            assert (state.started_at, state.updated_at) == (started, clock.now())
            done = await writing.apply(WriteRequest(COMMIT, len(DATA), expected=DIGEST, labels={"a": "b"}))
        assert (done.action, done.offset, done.total, done.digest) == (COMMIT, len(DATA), len(DATA), DIGEST)
        assert (await blobs.info(NS, DIGEST)).labels == {"a": "b"}
        assert await blobs.statuses(NS) == []

    async def test_a_commit_may_bring_all(self, blobs: BlobService) -> None:
        async with blobs.writing(NS, "r") as writing:
            done = await writing.apply(WriteRequest(COMMIT, data=DATA, total=len(DATA), expected=DIGEST))
        assert done.digest == DIGEST
        assert await read(blobs) == DATA

    async def test_an_empty_blob(self, blobs: BlobService) -> None:
        async with blobs.writing(NS, "r") as writing:
            done = await writing.apply(WriteRequest(COMMIT))
        assert (await blobs.info(NS, done.digest)).size == 0

    async def test_offsets(self, blobs: BlobService) -> None:
        async with blobs.writing(NS, "r") as writing:
            await writing.apply(WriteRequest(WRITE, data=b"12345"))
            for offset in (3, 6, 2**40):
                with pytest.raises(OutOfRange):
                    await writing.apply(WriteRequest(WRITE, offset, b"x"))
            with pytest.raises(InvalidArgument):
                await writing.apply(WriteRequest(WRITE, -1, b"x"))
            assert (await writing.apply(WriteRequest(STAT))).offset == 5
            state = await writing.apply(WriteRequest(WRITE, 0, b"anew"))
            assert (state.offset, state.digest) == (4, Digest.of(b"anew"))

    async def test_a_wrong_digest_leaves_the_bytes(self, blobs: BlobService) -> None:
        with pytest.raises(FailedPrecondition, match="isn't"):
            async with blobs.writing(NS, "r", total=5) as writing:
                await writing.apply(WriteRequest(WRITE, data=b"wrong"))
                await writing.apply(WriteRequest(COMMIT, 5, expected=DIGEST))
        (status,) = await blobs.statuses(NS)
        assert (status.ref, status.offset, status.total) == ("r", 5, 5)
        async with blobs.writing(NS, "r") as writing:
            await writing.apply(WriteRequest(COMMIT, 5, expected=Digest.of(b"wrong")))

    async def test_a_wrong_size_leaves_the_bytes(self, blobs: BlobService) -> None:
        with pytest.raises(FailedPrecondition, match="size"):
            async with blobs.writing(NS, "r", total=6) as writing:
                await writing.apply(WriteRequest(COMMIT, data=b"wrong"))
        assert (await blobs.status(NS, "r")).offset == 5

    async def test_known_blobs_are_not_written_again(self, blobs: BlobService, db: Database) -> None:
        await put(blobs)
        await db.write(lambda tx: tx.leases.create(NS, "l"))
        with pytest.raises(AlreadyExists):
            async with blobs.writing(NS, "r", expected=DIGEST):
                pass
        with pytest.raises(AlreadyExists):
            async with blobs.writing(NS, "r", lease="l") as writing:
                await writing.apply(WriteRequest(WRITE, data=DATA))
                await writing.apply(WriteRequest(COMMIT, len(DATA), expected=DIGEST))
        assert await blobs.statuses(NS) == []
        resources = await db.read(lambda tx: tx.leases.list_resources(NS, "l"))
        assert resources == [LeaseResource("content", DIGEST)]

    async def test_a_ref_has_one_writer(self, blobs: BlobService) -> None:
        async with blobs.writing(NS, "r"):
            with pytest.raises(Unavailable):
                async with blobs.writing(NS, "r"):
                    pass

    async def test_leases_hold_transfers_and_blobs(self, blobs: BlobService, db: Database) -> None:
        await db.write(lambda tx: tx.leases.create(NS, "l"))
        async with blobs.writing(NS, "r", lease="l") as writing:
            await writing.apply(WriteRequest(WRITE, data=DATA))
            assert (await db.read(lambda tx: tx.ingests.get(NS, "r"))).expires_at is None
            held = await db.read(lambda tx: tx.leases.list_resources(NS, "l"))
            assert held == [LeaseResource("ingests", "r")]
            await writing.apply(WriteRequest(COMMIT, len(DATA)))
        held = await db.read(lambda tx: tx.leases.list_resources(NS, "l"))
        assert held == [LeaseResource("content", DIGEST)]
        await blobs.delete(NS, DIGEST, lease="l")
        assert await db.read(lambda tx: tx.leases.list_resources(NS, "l")) == []
        with pytest.raises(NotFound, match="lease"):
            async with blobs.writing(NS, "r", lease="none"):
                pass

    async def test_without_a_lease_for_a_day(
        self, blobs: BlobService, db: Database, clock: HandClock
    ) -> None:
        async with blobs.writing(NS, "r"):
            pass
        record = await db.read(lambda tx: tx.ingests.get(NS, "r"))
        assert record.expires_at == clock.now() + timedelta(hours=24)

    async def test_statuses_are_filtered(self, blobs: BlobService) -> None:
        for ref in ("layer-1", "layer-2", "config-1"):
            async with blobs.writing(NS, ref):
                pass
        found = await blobs.statuses(NS, ["ref~=^layer"])
        assert [status.ref for status in found] == ["layer-1", "layer-2"]
        assert len(await blobs.statuses(NS, [""])) == 3
        await blobs.abort(NS, "layer-1")
        with pytest.raises(NotFound):
            await blobs.status(NS, "layer-1")
        with pytest.raises(NotFound):
            await blobs.abort(NS, "layer-1")


class TestStates:
    async def test_labels_are_merged_once_and_planned_without_effect(self, blobs: BlobService) -> None:
        await put(blobs, a="1", b="2")
        wanted = ContentDesired(labels={"b": "", "c": "3"})
        planned = await blobs.put(NS, DIGEST, wanted, plan=True)
        assert planned.after == {"digest": str(DIGEST), "size": len(DATA), "labels": {"a": "1", "c": "3"}}
        assert (await blobs.info(NS, DIGEST)).labels == {"a": "1", "b": "2"}
        assert await blobs.put(NS, DIGEST, wanted) == planned
        assert (await blobs.info(NS, DIGEST)).labels == {"a": "1", "c": "3"}
        again = await blobs.put(NS, DIGEST, wanted)
        assert (again.changed, again.before) == (False, again.after)

    async def test_a_blob_is_gone_once(self, blobs: BlobService) -> None:
        await put(blobs)
        gone = ContentDesired("absent")
        assert (await blobs.put(NS, DIGEST, gone, plan=True)).changed
        assert (await blobs.put(NS, DIGEST, gone)).changed
        assert not (await blobs.put(NS, DIGEST, gone)).changed
        with pytest.raises(NotFound, match="does not exist"):
            await blobs.put(NS, DIGEST, ContentDesired())

    async def test_labels_that_can_not_be_are_refused(self, blobs: BlobService) -> None:
        await put(blobs)
        with pytest.raises(InvalidArgument):
            await blobs.put(NS, DIGEST, ContentDesired(labels={"k": "v" * 5000}))
