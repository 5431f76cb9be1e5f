"""What any content store must do; the cases carry the names of containerd's own suite."""

# ruff: noqa: ASYNC240 - a test may look at the disk itself

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import trio

from tricorn import limits, ports
from tricorn.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from tricorn.model.ids import Digest
from tricorn.model.records import LeaseResource
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.ingest_file import IngestFile
from tricorn_testing.clock import HandClock

NS = "testing"
DATA = os.urandom(3 << 20)
DIGEST = Digest.of(DATA)
LABELS = {"k1": "v1", "k2": "v2"}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def db(tmp_path: Path, clock: HandClock) -> AsyncIterator[Database]:
    async with Database.open(str(tmp_path / "db" / "t.db"), clock) as database:
        yield database


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "content"


@pytest.fixture
def store(root: Path, db: Database, clock: HandClock) -> ContentStore:
    return ContentStore(str(root), db, clock)


async def put(
    store: ports.ContentStore, data: bytes, namespace: str = NS, lease: str = "", **labels: str
) -> Digest:
    async with store.writer(namespace, f"put-{Digest.of(data)}", lease=lease) as writer:
        await writer.write(data)
        return (await writer.commit(labels=labels)).digest


async def put_part(store: ports.ContentStore, ref: str, data: bytes, **options) -> None:
    async with store.writer(NS, ref, **options) as writer:
        await writer.write(data)


async def put_whole(store: ports.ContentStore, **options) -> None:
    async with store.writer(NS, "r", **options) as writer:
        await writer.write(DATA)
        await writer.commit()


async def resources(db: Database, lease: str, namespace: str = NS) -> list[LeaseResource]:
    return await db.read(lambda tx: tx.leases.list_resources(namespace, lease))


async def test_writer(store: ContentStore, db: Database, root: Path) -> None:
    async with store.writer(NS, "c1", total=len(DATA), expected=DIGEST) as writer:
        assert (writer.ref, writer.offset) == ("c1", 0)
        for start in range(0, len(DATA), 1 << 20):
            chunk = bytearray(DATA[start : start + (1 << 20)])
            await writer.write(memoryview(chunk))
            chunk[:] = bytes(len(chunk))  # the buffer is the caller's again
            assert Path(writer.path).stat().st_size == writer.offset == start + (1 << 20)
        info = await writer.commit(size=len(DATA), expected=DIGEST, labels=LABELS)
    assert (info.digest, info.size, info.labels) == (DIGEST, len(DATA), LABELS)
    assert await store.info(NS, DIGEST) == info
    assert await store.read(NS, DIGEST, limit=1 << 30) == DATA
    assert await store.statuses(NS) == []
    path = Path(store.blob_path(DIGEST))
    assert path == root / "blobs" / "sha256" / DIGEST.hex
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert os.listdir(root / "ingests") == []
    events = (await db.read(lambda tx: tx.events.page(0))).events
    assert [(event.topic, event.event) for event in events][-1] == (
        "/content/create", {"digest": DIGEST, "size": len(DATA)},
    )  # fmt: skip


async def test_update_status(store: ContentStore, clock: HandClock) -> None:
    async with store.writer(NS, "c1", total=10, expected=DIGEST) as writer:
        for offset in (0, 3, 6):
            (status,) = await store.statuses(NS)
            assert (status.ref, status.offset, status.total, status.expected) == ("c1", offset, 10, DIGEST)
            assert status.started_at == clock.now()
            await writer.write(b"abc")
    assert (await store.status(NS, "c1")).offset == 9
    with pytest.raises(NotFound):
        await store.status(NS, "other")


async def test_statuses(store: ContentStore) -> None:
    async with store.writer(NS, "a"), store.writer(NS, "b"), store.writer("other", "a"):
        assert [status.ref for status in await store.statuses(NS)] == ["a", "b"]
        assert [status.ref for status in await store.statuses("other")] == ["a"]
    assert [status.ref for status in await store.statuses(NS)] == ["a", "b"]


async def test_commit_exists(store: ContentStore) -> None:
    await put(store, DATA)
    async with store.writer(NS, "again") as writer:
        await writer.write(DATA)
        with pytest.raises(AlreadyExists):
            await writer.commit(size=len(DATA), expected=DIGEST)
    assert await store.statuses(NS) == []
    assert await store.read(NS, DIGEST, limit=1 << 30) == DATA
    with pytest.raises(AlreadyExists):
        async with store.writer(NS, "third", expected=DIGEST):
            pytest.fail("must not open")
    assert await store.statuses(NS) == []


@pytest.mark.parametrize("written", [0, 1, 1 << 20, len(DATA) - 1, len(DATA)])
async def test_resume(store: ContentStore, written: int) -> None:
    await put_part(store, "r", DATA[:written])
    async with store.writer(NS, "r") as writer:
        assert writer.offset == written
        await writer.write(DATA[written:])
        await writer.commit(size=len(DATA), expected=DIGEST)
    assert await store.read(NS, DIGEST, limit=1 << 30) == DATA


async def test_resume_truncate(store: ContentStore) -> None:
    await put_part(store, "r", b"x" * 100)
    async with store.writer(NS, "r") as writer:
        await writer.truncate()
        assert writer.offset == 0
        await writer.write(DATA)
        await writer.commit(size=len(DATA), expected=DIGEST)
    assert await store.read(NS, DIGEST, limit=1 << 30) == DATA


async def test_resume_discard(store: ContentStore, root: Path) -> None:
    await put_part(store, "r", b"x" * 100)
    await store.abort(NS, "r")
    assert await store.statuses(NS) == []
    assert os.listdir(root / "ingests") == []
    with pytest.raises(NotFound):
        await store.abort(NS, "r")
    async with store.writer(NS, "r") as writer:
        assert writer.offset == 0


async def test_resume_after_restart(store: ContentStore, root: Path, db: Database, clock: HandClock) -> None:
    await put_part(store, "r", DATA[:1000], total=len(DATA), expected=DIGEST)
    reopened = ContentStore(str(root), db, clock)
    async with reopened.writer(NS, "r") as writer:
        assert writer.offset == 1000
        assert (await reopened.status(NS, "r")).expected == DIGEST
        await writer.write(DATA[1000:])
        await writer.commit(expected=DIGEST)


async def test_small_blob(store: ContentStore) -> None:
    for data in (b"", b"x", b"foobar"):
        digest = await put(store, data)
        assert digest == Digest.of(data)
        assert await store.read(NS, digest, limit=10) == data


async def test_labels(store: ContentStore, clock: HandClock) -> None:
    digest = await put(store, b"labelled", **LABELS)
    clock.time += timedelta(seconds=5)
    info = await store.update_labels(NS, digest, {"k1": "new", "k2": "", "k3": "v3"})
    assert info.labels == {"k1": "new", "k3": "v3"}
    assert info.updated_at == clock.now()
    assert await store.info(NS, digest) == info
    assert await store.list(NS, ["labels.k3==v3"]) == [info]
    assert await store.list(NS, ["labels.k2"]) == []
    with pytest.raises(NotFound):
        await store.update_labels(NS, Digest.of(b"no"), {})
    async with store.writer(NS, "x") as writer:
        with pytest.raises(InvalidArgument):
            await writer.commit(labels={"k": "v" * limits.LABEL_SIZE})
        await writer.commit()  # nothing was lost


async def test_commit_error_state(store: ContentStore) -> None:
    async with store.writer(NS, "c") as writer:
        await writer.write(DATA)
        for wrong in (
            {"size": len(DATA) + 1},
            {"expected": Digest.of(b"x")},
            {"size": 1, "expected": DIGEST},
        ):
            with pytest.raises(FailedPrecondition):
                await writer.commit(**wrong)
            assert writer.offset == len(DATA)
        assert [status.offset for status in await store.statuses(NS)] == [len(DATA)]
        await writer.commit(size=len(DATA), expected=DIGEST)
        for call in (writer.commit(), writer.write(b"x"), writer.truncate()):
            with pytest.raises(FailedPrecondition):
                await call
    assert await store.read(NS, DIGEST, limit=1 << 30) == DATA


async def test_digest_mismatch_names_both(store: ContentStore) -> None:
    async with store.writer(NS, "c") as writer:
        await writer.write(b"abc")
        with pytest.raises(FailedPrecondition) as caught:
            await writer.commit(expected=DIGEST)
    assert DIGEST in caught.value.what
    assert Digest.of(b"abc") in caught.value.why


async def test_other_algorithms(store: ContentStore) -> None:
    wanted = Digest(f"sha512:{hashlib.sha512(DATA).hexdigest()}")
    async with store.writer(NS, "late") as writer:  # told at commit only: hashed again
        await writer.write(DATA)
        await writer.commit(expected=wanted)
    other = Digest(f"sha384:{hashlib.sha384(DATA).hexdigest()}")
    async with store.writer(NS, "early", expected=other) as writer:
        await writer.write(DATA)
        await writer.commit(expected=other)
    for digest in (wanted, other):
        assert await store.read(NS, digest, limit=1 << 30) == DATA


async def test_one_writer(store: ContentStore) -> None:
    async with store.writer(NS, "r"):
        with pytest.raises(Unavailable):
            async with store.writer(NS, "r"):
                pytest.fail("must not open")
        with pytest.raises(Unavailable):
            await store.abort(NS, "r")
        async with store.writer("other", "r"):
            assert store.active == {(NS, "r"), ("other", "r")}
    async with store.writer(NS, "r"):
        pass


async def test_cross_namespace_share(store: ContentStore, db: Database) -> None:
    await put(store, DATA)
    await db.write(lambda tx: tx.leases.create("other", "l"))
    with pytest.raises(NotFound):
        await store.info("other", DIGEST)
    with pytest.raises(AlreadyExists):
        async with store.writer("other", "r", expected=DIGEST, lease="l"):
            pytest.fail("must not open")
    assert await store.read("other", DIGEST, limit=1 << 30) == DATA
    assert await resources(db, "l", "other") == [LeaseResource("content", DIGEST)]
    await store.delete(NS, DIGEST)
    await store.sweep()
    assert await store.read("other", DIGEST, limit=1 << 30) == DATA


async def test_cross_namespace_isolate(root: Path, db: Database, clock: HandClock) -> None:
    store = ContentStore(str(root), db, clock, policy="isolated")
    await put(store, DATA)
    async with store.writer("other", "r", expected=DIGEST) as writer:
        await writer.write(DATA)
        await writer.commit(expected=DIGEST)
    await db.write(lambda tx: tx.namespaces.update(NS, {"containerd.io/namespace.shareable": "true"}))
    with pytest.raises(AlreadyExists):
        async with store.writer("third", "r", expected=DIGEST):
            pytest.fail("must not open")


async def test_cross_namespace_append(store: ContentStore) -> None:
    """The same ref is another ingest in another namespace; the same bytes are one file."""
    for namespace in (NS, "other"):
        async with store.writer(namespace, "same") as writer:
            assert writer.offset == 0
            await writer.write(DATA)
            await writer.commit()
    assert await store.read("other", DIGEST, limit=1 << 30) == DATA


async def test_lease_holds_whatever_exists_or_is_made(store: ContentStore, db: Database) -> None:
    for lease in ("made", "exists", "expected"):
        await db.write(lambda tx, lease=lease: tx.leases.create(NS, lease))
    await put_part(store, "part", b"x", lease="made")
    assert LeaseResource("ingests", "part") in await resources(db, "made")
    await put(store, DATA, lease="made")
    for options in ({"lease": "exists"}, {"lease": "expected", "expected": DIGEST}):
        with pytest.raises(AlreadyExists):
            await put_whole(store, **options)
    for lease in ("made", "exists", "expected"):
        assert LeaseResource("content", DIGEST) in await resources(db, lease)
        assert LeaseResource("ingests", "r") not in await resources(db, lease)
    with pytest.raises(NotFound):
        async with store.writer(NS, "r", lease="missing"):
            pytest.fail("must not open")


async def test_read_is_bounded_and_verified(store: ContentStore) -> None:
    await put(store, DATA)
    with pytest.raises(ResourceExhausted):
        await store.read(NS, DIGEST, limit=len(DATA) - 1)
    with pytest.raises(NotFound):
        await store.read("other", DIGEST, limit=1 << 30)
    path = Path(store.blob_path(DIGEST))
    path.chmod(0o644)
    path.write_bytes(b"\0" + DATA[1:])
    with pytest.raises(DataLoss):
        await store.read(NS, DIGEST, limit=1 << 30)
    path.unlink()
    with pytest.raises(DataLoss):
        await store.read(NS, DIGEST, limit=1 << 30)


@pytest.mark.parametrize(
    "bad", ["sha256:../../etc/passwd", "../x", "", "sha256:" + "A" * 64, "md5:" + "0" * 32]
)
async def test_nothing_is_built_from_an_invalid_digest(store: ContentStore, bad: str) -> None:
    with pytest.raises(InvalidArgument):
        store.blob_path(Digest(bad))
    with pytest.raises(InvalidArgument):
        async with store.writer(NS, "r", expected=Digest(bad)):
            pytest.fail("must not open")
    async with store.writer(NS, "r") as writer:
        with pytest.raises(InvalidArgument):
            await writer.commit(expected=Digest(bad))


@pytest.mark.parametrize("ref", ["../../../tmp/evil", "a/b", "\x00", "x" * 1000, "ü"])
async def test_hostile_refs_stay_inside(store: ContentStore, root: Path, ref: str) -> None:
    async with store.writer(NS, ref) as writer:
        assert Path(writer.path).parent.parent == root / "ingests"
        assert len(Path(writer.path).parent.name) == 64
    assert [status.ref for status in await store.statuses(NS)] == [ref]


async def test_malformed_refs(store: ContentStore) -> None:
    for ref in ("", "x" * 1025):
        with pytest.raises(InvalidArgument):
            async with store.writer(NS, ref):
                pytest.fail("must not open")


async def test_disk_full_keeps_what_fitted(store: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite

    def full(descriptor: int, data: memoryview, offset: int) -> int:
        if offset >= 1000:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[: 1000 - offset], offset)

    async with store.writer(NS, "r") as writer:
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", full)
            with pytest.raises(ResourceExhausted) as caught:
                await writer.write(DATA)
        assert "free space" in caught.value.hint
        assert writer.offset == 1000
        await writer.write(DATA[1000:])
        await writer.commit(expected=DIGEST)


async def test_cancelled_commit_is_whole_or_not(store: ContentStore) -> None:
    async with store.writer(NS, "r") as writer:
        await writer.write(DATA)
        with trio.CancelScope() as scope:
            scope.cancel()
            await writer.commit(expected=DIGEST)
        assert scope.cancelled_caught
        assert writer.offset == len(DATA)
        await writer.commit(expected=DIGEST)
    assert await store.read(NS, DIGEST, limit=1 << 30) == DATA


async def test_cancelled_once_in_place_it_is_recorded(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = IngestFile.move
    scope = trio.CancelScope()

    def move_and_cancel(file: IngestFile, target: str) -> None:
        real(file, target)
        trio.from_thread.run_sync(scope.cancel)

    monkeypatch.setattr(IngestFile, "move", move_and_cancel)
    with scope:
        async with store.writer(NS, "r") as writer:
            await writer.write(DATA)
            await writer.commit(expected=DIGEST)
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert await store.read(NS, DIGEST, limit=1 << 30) == DATA
    assert await store.statuses(NS) == []


# -- deletion and sweeping
async def test_delete_takes_the_record_and_sweep_the_file(store: ContentStore) -> None:
    await put(store, DATA)
    await store.delete(NS, DIGEST)
    with pytest.raises(NotFound):
        await store.info(NS, DIGEST)
    with pytest.raises(NotFound):
        await store.delete(NS, DIGEST)
    assert os.path.exists(store.blob_path(DIGEST))
    removed = await store.sweep()
    assert removed.blobs == ((DIGEST, len(DATA)),)
    assert not os.path.exists(store.blob_path(DIGEST))
    assert (await store.sweep()).blobs == ()
    await put(store, DATA)


async def test_sweep_removes_expired_and_unknown_ingests(
    store: ContentStore, root: Path, clock: HandClock, db: Database
) -> None:
    await db.write(lambda tx: tx.leases.create(NS, "l"))
    await put_part(store, "old", b"x")
    await put_part(store, "leased", b"x", lease="l")
    (root / "ingests" / ("0" * 64)).mkdir()
    (root / "ingests" / ("0" * 64) / "data").touch()
    assert (await store.sweep()).ingests == 1
    assert [status.ref for status in await store.statuses(NS)] == ["leased", "old"]
    clock.time += timedelta(seconds=limits.INGEST_DEFAULT_SECONDS)
    async with store.writer(NS, "held"):
        clock.time += timedelta(seconds=limits.INGEST_DEFAULT_SECONDS + 1)
        assert (await store.sweep()).ingests == 1
        assert [status.ref for status in await store.statuses(NS)] == ["held", "leased"]


async def test_sweep_leaves_concurrent_writers_alone(store: ContentStore) -> None:
    """Blobs are committed, deleted and committed again under a sweep that never rests."""
    blobs = [os.urandom(2000) for _ in range(4)]
    stop = trio.Event()

    async def sweep_for_ever() -> None:
        while not stop.is_set():
            await store.sweep()

    async def churn(data: bytes) -> None:
        digest = Digest.of(data)
        for _ in range(15):
            await put(store, data)
            assert await store.read(NS, digest, limit=1 << 20) == data
            await store.delete(NS, digest)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sweep_for_ever)
        async with trio.open_nursery() as churners:
            for data in blobs:
                churners.start_soon(churn, data)
        stop.set()
    await store.sweep()
    assert not any(os.path.exists(store.blob_path(Digest.of(data))) for data in blobs)


async def test_a_blob_committed_since_the_snapshot_is_not_swept(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep has read its records, then a writer records a blob whose file was an orphan till then."""
    await put(store, DATA)
    await store.delete(NS, DIGEST)
    real = store._sweep
    proceed, reached = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def paused(*arguments):
        trio.from_thread.run_sync(reached.set, trio_token=token)
        trio.from_thread.run(proceed.wait, trio_token=token)
        return real(*arguments)

    monkeypatch.setattr(store, "_sweep", paused)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.sweep)
        await reached.wait()
        await put(store, DATA)
        proceed.set()
    assert await store.read(NS, DIGEST, limit=1 << 30) == DATA


async def test_directories_are_private(store: ContentStore, root: Path) -> None:
    await put_part(store, "r", b"secret")
    for path in [root, *root.rglob("*")]:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
