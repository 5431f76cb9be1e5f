"""Sessions of clients on the content store; the cases of blobs between namespaces are containerd's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from tricorn.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound, Unavailable
from tricorn.model.ids import Digest
from tricorn.model.records import LeaseResource
from tricorn.store.content import ContentStore
from tricorn.store.db import Database

DATA = os.urandom(300_000)
DIGEST = Digest.of(DATA)
SIZE = len(DATA)


@pytest.fixture
def store(tmp_path: Path, db: Database, clock) -> ContentStore:
    return ContentStore(str(tmp_path / "content"), db, clock)


@pytest.fixture
def isolated(tmp_path: Path, db: Database, clock) -> ContentStore:
    return ContentStore(str(tmp_path / "content"), db, clock, policy="isolated")


async def put(store: ContentStore, namespace: str, data: bytes = DATA, **labels: str) -> Digest:
    async with store.session(namespace, "put") as session:
        await session.write(data)
        return (await session.commit(size=None, expected=None, labels=labels)).digest


async def test_a_session_is_resumed_where_it_ended(store: ContentStore) -> None:
    async with store.session("a", "r", total=SIZE) as session:
        await session.write(DATA[:1000])
        assert session.digest == Digest.of(DATA[:1000])
    async with store.session("a", "r") as session:
        assert (session.offset, session.total, session.digest) == (1000, SIZE, Digest.of(DATA[:1000]))
        await session.write(DATA[1000:])
        info = await session.commit(size=SIZE, expected=DIGEST, labels={"a": "b"})
    assert (info.digest, info.size, info.labels) == (DIGEST, SIZE, {"a": "b"})
    assert await store.read("a", DIGEST, limit=SIZE) == DATA
    assert await store.statuses("a") == []


async def test_cross_namespace_share(store: ContentStore) -> None:
    await put(store, "a", secret="of a")
    async with store.session("b", "r", total=SIZE, expected=DIGEST) as session:
        assert (session.offset, session.total, session.digest) == (SIZE, SIZE, DIGEST)
        with pytest.raises(NotFound):
            await store.info("b", DIGEST)
        await session.commit(size=SIZE, expected=DIGEST, labels={"own": "label"})
    assert (await store.info("b", DIGEST)).labels == {"own": "label"}
    assert await store.read("b", DIGEST, limit=SIZE) == DATA
    assert await store.statuses("b") == []


async def test_cross_namespace_append(store: ContentStore) -> None:
    await put(store, "a")
    longer = DATA + b"appended bytes"
    async with store.session("b", "r", total=SIZE, expected=DIGEST) as session:
        await session.write(b"appended bytes")
        assert (session.offset, session.digest) == (len(longer), Digest.of(longer))
        await session.commit(size=len(longer), expected=Digest.of(longer), labels={})
    assert await store.read("b", Digest.of(longer), limit=SIZE * 2) == longer
    with pytest.raises(NotFound):
        await store.info("b", DIGEST)


async def test_a_shared_start_can_be_truncated(store: ContentStore) -> None:
    await put(store, "a")
    async with store.session("b", "r", expected=DIGEST) as session:
        await session.truncate()
        assert (session.offset, session.digest) == (0, Digest.of(b""))
        await session.write(DATA)
        await session.commit(size=SIZE, expected=DIGEST, labels={})
    assert await store.read("b", DIGEST, limit=SIZE) == DATA


async def test_a_shared_start_is_checked_as_bytes_are(store: ContentStore) -> None:
    await put(store, "a")
    async with store.session("b", "r", expected=DIGEST) as session:
        with pytest.raises(FailedPrecondition, match="wrong size"):
            await session.commit(size=1, expected=None, labels={})
        with pytest.raises(FailedPrecondition, match="isn't"):
            await session.commit(size=None, expected=Digest.of(b"x"), labels={})
    async with store.session("b", "r", total=SIZE + 1, expected=DIGEST) as session:
        assert session.offset == 0  # a blob of another size can't be the one that is meant


async def test_cross_namespace_isolate(isolated: ContentStore) -> None:
    await put(isolated, "a")
    async with isolated.session("b", "r", total=SIZE, expected=DIGEST) as session:
        assert session.offset == 0
        await session.write(DATA)
        await session.commit(size=SIZE, expected=DIGEST, labels={})
    assert await isolated.read("b", DIGEST, limit=SIZE) == DATA


async def test_shareable_namespace_isolate(isolated: ContentStore, db: Database) -> None:
    await db.write(lambda tx: tx.namespaces.create("a", {"containerd.io/namespace.shareable": "true"}))
    await put(isolated, "a")
    async with isolated.session("b", "r", total=SIZE, expected=DIGEST) as session:
        assert session.offset == SIZE


async def test_the_shared_blob_stays_while_the_session_does(store: ContentStore) -> None:
    await put(store, "a")
    async with store.session("b", "r", expected=DIGEST) as session:
        await store.delete("a", DIGEST)
        assert (await store.sweep()).blobs == ()
        await session.commit(size=None, expected=None, labels={})
    assert await store.read("b", DIGEST, limit=SIZE) == DATA


async def test_what_is_known_is_leased_and_told(store: ContentStore, db: Database) -> None:
    await put(store, "a")
    await db.write(lambda tx: tx.leases.create("a", "l"))
    with pytest.raises(AlreadyExists):
        async with store.session("a", "r", expected=DIGEST, lease="l"):
            pass
    held = await db.read(lambda tx: tx.leases.list_resources("a", "l"))
    assert held == [LeaseResource("content", str(DIGEST))]
    assert await store.statuses("a") == []


async def test_one_session_a_ref(store: ContentStore) -> None:
    async with store.session("a", "r"):
        with pytest.raises(Unavailable):
            async with store.session("a", "r"):
                pass
        async with store.session("b", "r"):
            pass


async def test_abort_ends_the_session(store: ContentStore) -> None:
    aborted = trio.Event()

    async def write(task_status) -> None:
        with pytest.raises(Aborted):
            async with store.session("a", "r") as session:
                await session.write(DATA)
                task_status.started()
                await trio.sleep_forever()
        aborted.set()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(write)
            await store.abort("a", "r")
            assert await store.statuses("a") == []
            await aborted.wait()
    async with store.session("a", "r") as session:
        assert session.offset == 0
    await store.abort("a", "r")
    with pytest.raises(NotFound):
        await store.abort("a", "r")


async def test_a_session_can_drop_its_ingest(store: ContentStore, tmp_path: Path) -> None:
    async with store.session("a", "r") as session:
        await session.write(DATA)
        await session.discard()
    assert await store.statuses("a") == []
    assert os.listdir(tmp_path / "content" / "ingests") == []


async def test_writing_frees_nothing(store: ContentStore, db: Database) -> None:
    """A collection after each upload would remove what its client is about to refer to."""
    before = db.deletions
    await put(store, "a")
    await store.update_labels("a", DIGEST, {"x": "y", "containerd.io/gc.ref.content.0": str(DIGEST)})
    assert db.deletions == before
    await store.update_labels("a", DIGEST, {"containerd.io/gc.ref.content.0": ""})
    assert db.deletions == before + 1
