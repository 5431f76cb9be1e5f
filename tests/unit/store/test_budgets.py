"""Budgets of namespaces: what counts, what is refused, and when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tricorn.errors import ResourceExhausted
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.model.records import Container, Image, Snapshot, SnapshotKind, Usage
from tricorn.model.usage import BudgetRule
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn_testing.clock import HandClock

NS, FREE = "team", "free"
RULES = (BudgetRule(("team",), bytes=1000, images=2, containers=1),)
TARGET = Descriptor("m", Digest.of(b"target"), 1)


@pytest.fixture
async def db(tmp_path: Path, clock: HandClock) -> AsyncIterator[Database]:
    async with Database.open(str(tmp_path / "db" / "t.db"), clock, RULES) as database:
        yield database


@pytest.fixture
def store(tmp_path: Path, db: Database, clock: HandClock) -> ContentStore:
    return ContentStore(str(tmp_path / "content"), db, clock)


async def put(store: ContentStore, data: bytes, namespace: str = NS, **more: Any) -> Digest:
    async with store.writer(namespace, f"ref-{Digest.of(data)}", **more) as writer:
        await writer.write(data)
        return (await writer.commit()).digest


async def test_content_is_refused_before_its_first_byte(store: ContentStore) -> None:
    await put(store, b"a" * 600)
    with pytest.raises(ResourceExhausted) as caught:
        async with store.writer(NS, "big", total=401):
            raise AssertionError("nothing may come of it")
    error = caught.value
    assert error.details["budget"] == 1000
    assert (error.details["used"], error.details["wanted"]) == (600, 401)
    assert error.details["largest"][0] == {"object": f"content/{Digest.of(b'a' * 600)}", "size": 600}
    assert "tricorn namespace budget team --bytes" in error.hint
    assert await store.statuses(NS) == []
    async with store.writer(NS, "fits", total=400) as writer:
        await writer.write(b"b" * 400)
        await writer.commit()
    await put(store, b"c" * 5000, FREE)


async def test_transfers_under_way_reserve_what_they_are_to_bring(store: ContentStore) -> None:
    async with store.writer(NS, "one", total=700) as writer:
        with pytest.raises(ResourceExhausted):
            async with store.writer(NS, "two", total=301):
                pass
        async with store.writer(NS, "three", total=300) as third:
            await third.write(b"3" * 300)
            await third.commit()
        await writer.write(b"1" * 700)
        await writer.commit()
    with pytest.raises(ResourceExhausted, match="1 more"):
        async with store.writer(NS, "unknown size"):
            pass


async def test_a_transfer_of_unknown_size_is_stopped_while_it_comes(
    store: ContentStore, db: Database
) -> None:
    first = await put(store, b"a" * 500)
    async with store.writer(NS, "drip") as writer:
        await writer.write(b"x" * 400)
        with pytest.raises(ResourceExhausted):
            await writer.write(b"x" * 101)
        assert writer.offset == 400
        await store.delete(NS, first)  # there is room again: the same transfer goes on
        await writer.write(b"x" * 101)
        await writer.commit()
    async with store.session(NS, "client", total=0) as session:
        with pytest.raises(ResourceExhausted):
            await session.write(b"y" * 500)
    assert (await db.read(lambda tx: tx.budgets.usage(NS))).content == 501


async def test_two_that_fit_alone_do_not_fit_together(store: ContentStore) -> None:
    refused = []

    async def bring(name: str) -> None:
        try:
            async with store.writer(NS, name) as writer:
                await writer.write(name.encode() * 600)
                await writer.commit()
        except ResourceExhausted:
            refused.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bring, "a")
        nursery.start_soon(bring, "b")
    assert len(refused) == 1
    assert len(await store.list(NS)) == 1


async def test_snapshots_count_once_committed(db: Database) -> None:
    def snapshot(key: str, kind: SnapshotKind, size: int) -> Snapshot:
        return Snapshot("overlay", key, kind, f"dir-{key}", usage=Usage(size, 1))

    await db.write(lambda tx: tx.snapshots.create(NS, snapshot("layer", SnapshotKind.COMMITTED, 900)))
    await db.write(lambda tx: tx.snapshots.create(NS, snapshot("work", SnapshotKind.ACTIVE, 0)))
    with pytest.raises(ResourceExhausted, match="101 more") as caught:
        await db.write(lambda tx: tx.snapshots.commit(NS, "overlay", "new", "work", Usage(101, 1)))
    assert caught.value.details["largest"] == [{"object": "snapshot/overlay/layer", "size": 900}]
    await db.write(lambda tx: tx.snapshots.commit(NS, "overlay", "new", "work", Usage(100, 1)))


async def test_counts_of_images_and_containers(db: Database) -> None:
    for name in ("a", "b"):
        await db.write(lambda tx, name=name: tx.images.put(NS, Image(name, TARGET)))
    await db.write(lambda tx: tx.images.put(NS, Image("a", TARGET, {"x": "y"})))  # no new one
    with pytest.raises(ResourceExhausted) as caught:
        await db.write(lambda tx: tx.images.put(NS, Image("c", TARGET)))
    assert sorted(caught.value.details["oldest"]) == ["a", "b"]
    assert "--images" in caught.value.hint
    container = Container("c1", runtime="crun", spec=b"{}")
    await db.write(lambda tx: tx.containers.create(NS, container))
    with pytest.raises(ResourceExhausted, match="may not have more containers"):
        await db.write(lambda tx: tx.containers.create(NS, Container("c2", runtime="crun", spec=b"{}")))
    await db.write(lambda tx: tx.containers.create(FREE, container))


async def test_a_label_sets_a_budget_and_an_empty_one_removes_it(db: Database, store: ContentStore) -> None:
    await db.write(lambda tx: tx.namespaces.create(FREE, {"tricorn.budget/bytes": "10"}))
    with pytest.raises(ResourceExhausted):
        await put(store, b"x" * 11, FREE)
    await db.write(lambda tx: tx.namespaces.update(FREE, {"tricorn.budget/bytes": ""}))
    await put(store, b"x" * 11, FREE)


async def test_a_pull_is_weighed_as_a_whole(db: Database, store: ContentStore) -> None:
    here = await put(store, b"h" * 100)
    sizes = {here: 100, Digest.of(b"1"): 500, Digest.of(b"2"): 400}
    await db.read(lambda tx: tx.budgets.admit_blobs(NS, sizes))
    with pytest.raises(ResourceExhausted, match="901 more"):
        await db.read(lambda tx: tx.budgets.admit_blobs(NS, {**sizes, Digest.of(b"3"): 1}))
    async with store.writer(NS, "one of them", total=500, expected=Digest.of(b"1")):
        await db.read(lambda tx: tx.budgets.admit_blobs(NS, sizes))


async def test_usage_tells_own_from_shared(db: Database, store: ContentStore) -> None:
    await put(store, b"own" * 10)
    await put(store, b"shared" * 10)
    await put(store, b"shared" * 10, FREE)
    usage = await db.read(lambda tx: tx.budgets.usage(NS))
    assert (usage.content, usage.content_own, usage.content_shared, usage.blobs) == (90, 30, 60, 2)
    assert usage.budget.bytes == 1000
    assert [each.namespace for each in await db.read(lambda tx: tx.budgets.usage_of_all())] == [FREE, NS]
