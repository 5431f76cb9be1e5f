"""Blobs that stay open for a while: never longer than they are there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tricorn.errors import NotFound
from tricorn.model.ids import Digest
from tricorn.store.content import ContentStore
from tricorn.store.db import Database

DATA = os.urandom(300_000)
DIGEST = Digest.of(DATA)


@pytest.fixture
def store(tmp_path: Path, db: Database, clock) -> ContentStore:
    return ContentStore(str(tmp_path / "content"), db, clock)


async def put(store: ContentStore, data: bytes = DATA, namespace: str = "a") -> Digest:
    async with store.session(namespace, "put") as session:
        await session.write(data)
        return (await session.commit(size=None, expected=None, labels={})).digest


async def read(store: ContentStore, offset: int, size: int, digest: Digest = DIGEST) -> bytes:
    async with store.open("a", digest) as blob:
        return bytes(await blob.read(offset, size))


def held(store: ContentStore) -> Iterator[str]:
    """Yield the paths of the store's files that this process has open."""
    for name in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if path.startswith(store.blob_path(DIGEST).rpartition("/")[0]):
            yield path


async def test_parts(store: ContentStore) -> None:
    await put(store)
    for offset, size in ((0, 10), (5, 200_000), (299_999, 10), (0, 300_000)):
        assert await read(store, offset, size) == DATA[offset : offset + size]
    assert await read(store, 300_000, 10) == b""


async def test_small_parts_of_one_blob_cost_one_look_up(store: ContentStore, db: Database) -> None:
    await put(store)
    await read(store, 0, 1000)
    before = db.statistics()["reads"]
    for offset in range(0, 300_000, 1000):
        assert await read(store, offset, 1000) == DATA[offset : offset + 1000]
    assert db.statistics()["reads"] == before
    assert (await store.info("a", DIGEST)).size == len(DATA)
    assert db.statistics()["reads"] == before


async def test_what_changed_is_seen_at_once(store: ContentStore) -> None:
    await put(store)
    await read(store, 0, 1)
    await store.update_labels("a", DIGEST, {"x": "y"})
    async with store.open("a", DIGEST) as blob:
        assert blob.info.labels == {"x": "y"}
    await store.delete("a", DIGEST)
    with pytest.raises(NotFound):
        await read(store, 0, 1)
    assert list(held(store)) == []


async def test_a_sweep_lets_go_of_what_it_removes_and_of_nothing_else(store: ContentStore) -> None:
    await put(store)
    other = await put(store, b"stays")
    await read(store, 0, 1)
    await read(store, 0, 1, other)
    await store.delete("a", DIGEST)
    await store.sweep()
    assert list(held(store)) == [store.blob_path(other)]
    assert await read(store, 0, 5, other) == b"stays"


async def test_a_sweep_disturbs_no_reader(store: ContentStore) -> None:
    await put(store)
    async with store.open("a", DIGEST) as blob:
        await store.delete("a", DIGEST)
        await store.sweep()
        assert bytes(await blob.read(0, 5)) == DATA[:5]
    assert list(held(store)) == []


async def test_a_sweep_lets_go_of_what_lies_elsewhere_now(store: ContentStore) -> None:
    await put(store)
    await read(store, 0, 1)
    os.rename(store.blob_path(DIGEST), store.blob_path(DIGEST) + ".away")
    await store.sweep()
    assert list(held(store)) == []


async def test_few_are_kept(store: ContentStore) -> None:
    digests = [await put(store, b"%d" % number) for number in range(50)]
    for digest in digests:
        await read(store, 0, 1, digest)
    assert len(list(held(store))) == 32
    del store


async def test_many_readers_at_once(store: ContentStore) -> None:
    await put(store)

    async def one(number: int) -> None:
        for offset in range(number, 300_000, 50_000):
            assert await read(store, offset, 100) == DATA[offset : offset + 100]
            if number == 3:
                await store.sweep()
            if number == 4:
                await store.update_labels("a", DIGEST, {"n": str(offset)})

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(one, number)
    assert len(list(held(store))) <= 1
