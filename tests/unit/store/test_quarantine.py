"""Blobs out of service: nobody finds them, nothing that they name goes, and all of it comes back with them."""

# ruff: noqa: ASYNC240 - a test may look at the disk itself

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tricorn.errors import DataLoss, FailedPrecondition, NotFound
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.model.records import Image
from tricorn.store.collect import Collector
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.verify import BlobReading
from tricorn_testing.clock import HandClock

NS, OTHER = "team", "other"
LABELS = {"containerd.io/distribution.source.example.com": "a/b", "kept": "yes"}


@pytest.fixture
def store(tmp_path: Path, db: Database, clock: HandClock) -> ContentStore:
    return ContentStore(str(tmp_path / "content"), db, clock)


async def no_snapshots(snapshotter: str, backend_id: str) -> None:
    raise AssertionError("there are none")


async def put(store: ContentStore, data: bytes, namespace: str = NS, **labels: str) -> Digest:
    async with store.writer(namespace, f"ref-{Digest.of(data)}") as writer:
        await writer.write(data)
        return (await writer.commit(labels=labels)).digest


def damage(store: ContentStore, digest: Digest, data: bytes | None = None) -> None:
    """Overwrite a blob's file in place, with other bytes of its length by default."""
    path = store.blob_path(digest)
    os.chmod(path, 0o600)
    size = os.stat(path).st_size
    with open(path, "r+b") as file:
        file.truncate(0)
        file.write(b"?" * size if data is None else data)


def read_again(store: ContentStore, digest: Digest, size: int) -> BlobReading:
    reading = store.reading(digest, size)
    try:
        while reading.open() and reading.step(count=1 << 20):
            pass
    finally:
        reading.close()
    return reading


async def quarantine(store: ContentStore, digest: Digest, size: int) -> list[str]:
    reading = read_again(store, digest, size)
    assert reading.damage
    return await store.quarantine(reading)


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    path, data = tmp_path / "blob", os.urandom(3 << 20)
    digest = Digest.of(data)

    def read(size: int = len(data)) -> BlobReading:
        reading = BlobReading(str(path), digest, size)
        more = reading.open()
        while more:
            more = reading.step(1 << 20)
        reading.close()
        return reading

    assert read().damage == "its file is missing"
    path.write_bytes(data)
    assert read().damage == ""
    assert read().offset == len(data)
    path.write_bytes(data[:-1])
    assert read().damage == f"its file has {len(data) - 1} bytes, recorded are {len(data)}"
    other = data[:-1] + bytes([data[-1] ^ 1])
    path.write_bytes(other)
    assert read().damage == f"its bytes hash to {Digest.of(other)}"
    path.unlink()
    path.mkdir()
    assert read().damage == "it is no regular file"
    path.rmdir()
    path.symlink_to("/dev/zero")
    with pytest.raises(Exception, match="could not be opened"):
        read()


async def test_nobody_finds_it_and_a_new_one_brings_all_back(store: ContentStore, db: Database) -> None:
    digest = await put(store, b"blob", **LABELS)
    await put(store, b"blob", OTHER, only="here")
    damage(store, digest)
    assert await quarantine(store, digest, 4) == [OTHER, NS]
    for namespace in (NS, OTHER):
        with pytest.raises(NotFound):
            await store.info(namespace, digest)
        assert await store.list(namespace) == []
    aside = os.path.join(os.path.dirname(store.blob_path(digest)), "../../quarantine")
    assert os.listdir(aside) == [digest.replace(":", "-")]
    (found,) = await db.read(lambda tx: tx.quarantine.all())
    assert found.namespaces == (OTHER, NS)
    assert not found.restored
    assert await put(store, b"blob", new="label") == digest
    assert (await store.info(NS, digest)).labels == {**LABELS, "new": "label"}
    assert (await store.info(OTHER, digest)).labels == {"only": "here"}
    assert await store.read(OTHER, digest, limit=10) == b"blob"
    (found,) = await db.read(lambda tx: tx.quarantine.all())
    assert found.namespaces == ()
    assert found.restored
    await store.release_quarantined(digest)
    assert os.listdir(aside) == []
    assert await db.read(lambda tx: tx.quarantine.all()) == []


async def test_what_it_names_is_kept_until_nothing_needs_it(
    store: ContentStore, db: Database, clock: HandClock
) -> None:
    layer = await put(store, b"layer")
    manifest = await put(store, b"manifest", **{"containerd.io/gc.ref.content.l.0": layer})
    await db.write(lambda tx: tx.images.put(NS, Image("i", Descriptor("m", manifest, 8))))
    collector = Collector(db, store, no_snapshots, clock)
    damage(store, manifest)
    await quarantine(store, manifest, 8)
    await collector.collect()
    assert [info.digest for info in await store.list(NS)] == [layer]
    told = await collector.explain(NS, f"content/{layer}")
    assert told.kept
    with pytest.raises(FailedPrecondition, match="content"):
        await db.write(lambda tx: tx.namespaces.delete(NS))
    await db.write(lambda tx: tx.images.delete(NS, "i"))
    await collector.collect()
    assert await store.list(NS) == []
    assert await db.read(lambda tx: tx.quarantine.waiting()) == {}
    await db.write(lambda tx: tx.namespaces.delete(NS))


async def test_a_lease_holds_its_place(store: ContentStore, db: Database, clock: HandClock) -> None:
    digest = await put(store, b"leased")
    await db.write(lambda tx: tx.leases.create(NS, "l"))
    await db.write(lambda tx: tx.leases.protect(NS, "l", "content", digest))
    damage(store, digest)
    await quarantine(store, digest, 6)
    await Collector(db, store, no_snapshots, clock).collect()
    assert digest in await db.read(lambda tx: tx.quarantine.waiting())


async def test_one_that_was_replaced_meanwhile_stays_in_service(store: ContentStore) -> None:
    digest = await put(store, b"blob")
    damage(store, digest)
    reading = read_again(store, digest, 4)
    path = store.blob_path(digest)
    Path(path + ".new").write_bytes(b"blob")
    os.rename(path + ".new", path)
    assert await store.quarantine(reading) == []
    assert await store.read(NS, digest, limit=10) == b"blob"


async def test_a_missing_file_needs_no_file_in_quarantine(store: ContentStore, db: Database) -> None:
    digest = await put(store, b"blob")
    os.unlink(store.blob_path(digest))
    assert await quarantine(store, digest, 4) == [NS]
    (found,) = await db.read(lambda tx: tx.quarantine.all())
    assert (found.why, found.file) == ("its file is missing", "")


async def test_a_reader_that_finds_damage_tells_the_scrubber(store: ContentStore) -> None:
    digest = await put(store, b"document")
    damage(store, digest)
    with pytest.raises(DataLoss):
        await store.read(NS, digest, limit=100)
    assert store.suspects == {digest}


async def test_a_damaged_file_without_a_record_is_never_adopted(store: ContentStore) -> None:
    Path(store.blob_path(Digest.of(b"blob"))).write_bytes(b"blub")
    digest = await put(store, b"blob")
    assert await store.read(NS, digest, limit=10) == b"blob"


async def test_due_are_those_that_were_checked_longest_ago(
    store: ContentStore, db: Database, clock: HandClock
) -> None:
    digests = [await put(store, name) for name in (b"a", b"b", b"c")]
    await db.write(lambda tx: tx.blob_checks.passed(digests[0]))
    clock.advance(10)
    await db.write(lambda tx: tx.blob_checks.passed(digests[1]))
    clock.advance(10)

    async def due(seconds: float, namespace: str = "") -> list[Any]:
        before = clock.now() - timedelta(seconds=seconds)
        found = await db.read(lambda tx: tx.blob_checks.due(before, namespace))
        return [digest for digest, _ in found]

    assert await due(0) == [digests[2], digests[0], digests[1]]
    assert await due(15) == [digests[2], digests[0]]
    assert await due(25) == [digests[2]]
    assert await due(0, "nobody") == []
    assert await db.read(lambda tx: tx.blob_checks.oldest()) == (1, clock.now() - timedelta(seconds=20))
    await store.delete(NS, digests[0])
    await db.write(lambda tx: tx.blob_checks.trim())
    assert await db.read(lambda tx: tx.blob_checks.at(digests[0])) is None
    assert await db.read(lambda tx: tx.blob_checks.at(digests[1])) is not None
