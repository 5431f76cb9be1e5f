"""The collector: what it deletes, in which order, what it tells, and when it runs by itself."""

# ruff: noqa: ASYNC110, ASYNC240 - a test may look at the disk itself

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import trio

from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.model.records import Container, Image, Snapshot, SnapshotKind
from tricorn.rules.reach import shown
from tricorn.store.collect import Collector
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.gc_schedule import MUTATIONS, Pace, Schedule

NS = "team"
EXPIRE = "containerd.io/gc.expire"


class Node:
    """A store with a collector, and snapshots whose directories are names in a list."""

    def __init__(self, db: Database, content: ContentStore, clock) -> None:
        self.db = db
        self.content = content
        self.clock = clock
        self.removed: list[tuple[str, str]] = []
        self.refuse: set[str] = set()
        self.collector = Collector(db, content, self.remove_snapshot, clock)

    async def remove_snapshot(self, snapshotter: str, backend_id: str) -> None:
        if backend_id in self.refuse:
            raise FailedPrecondition(f"snapshot {backend_id} is mounted")
        self.removed.append((snapshotter, backend_id))

    async def blob(self, data: bytes, namespace: str = NS, **labels: str) -> Digest:
        async with self.content.writer(namespace, f"ref-{data!r}") as writer:
            await writer.write(data)
            return (await writer.commit(labels=labels)).digest

    async def image(self, name: str, target: Digest, namespace: str = NS, **labels: str) -> None:
        value = Image(name, Descriptor("m", target, 1), labels)
        await self.db.write(lambda tx: tx.images.put(namespace, value))

    async def snapshot(self, key: str, parent: str = "", kind=SnapshotKind.COMMITTED, **labels: str) -> None:
        value = Snapshot("overlay", key, kind, f"dir-{key}", parent, labels)
        await self.db.write(lambda tx: tx.snapshots.create(NS, value))

    async def lease(self, name: str, seconds: float | None = None) -> None:
        labels = (
            {} if seconds is None else {EXPIRE: (self.clock.now() + timedelta(seconds=seconds)).isoformat()}
        )
        await self.db.write(lambda tx: tx.leases.create(NS, name, labels))

    async def topics(self, since: int) -> list[str]:
        page = await self.db.read(lambda tx: tx.events.page(since))
        return [event.topic for event in page.events]


@pytest.fixture
async def node(tmp_path: Path, db: Database, clock) -> Node:
    return Node(db, ContentStore(str(tmp_path / "content"), db, clock), clock)


def keys(report) -> list[str]:
    return [f"{entry['type']}/{entry['key']}" for entry in report.removed]


async def test_keeps_an_image_and_what_it_needs(node: Node) -> None:
    config = await node.blob(b"config", **{"containerd.io/gc.ref.snapshot.overlay": "2"})
    manifest = await node.blob(b"manifest", **{"containerd.io/gc.ref.content.config": config})
    loose = await node.blob(b"loose")
    await node.image("a", manifest)
    await node.snapshot("1")
    await node.snapshot("2", "1")
    await node.snapshot("other")
    newest = node.db.newest
    report = await node.collector.collect()
    assert sorted(keys(report)) == [f"content/{loose}", "snapshot/overlay/other"]
    assert report.bytes == len(b"loose")
    assert not report.dry_run
    assert node.removed == [("overlay", "dir-other")]
    assert sorted(await node.topics(newest)) == ["/content/delete", "/snapshot/remove"]
    assert not os.path.exists(node.content.blob_path(loose))
    assert await node.content.read(NS, config, limit=100) == b"config"
    assert keys(await node.collector.collect()) == []


async def test_children_go_before_parents(node: Node) -> None:
    for key, parent in (("a", ""), ("b", "a"), ("c", "b"), ("a2", "a")):
        await node.snapshot(key, parent)
    await node.collector.collect()
    order = [backend_id for _, backend_id in node.removed]
    assert sorted(order) == ["dir-a", "dir-a2", "dir-b", "dir-c"]
    assert order.index("dir-c") < order.index("dir-b") < order.index("dir-a")
    assert order.index("dir-a2") < order.index("dir-a")


async def test_a_dry_run_tells_the_same_and_does_nothing(node: Node) -> None:
    await node.blob(b"loose")
    shared = await node.blob(b"shared")
    await node.blob(b"shared", namespace="other")
    await node.image("keeps", shared, namespace="other")
    await node.snapshot("k")
    newest = node.db.newest
    told = await node.collector.collect(dry_run=True)
    assert told.dry_run
    assert node.db.newest == newest
    assert node.removed == []
    done = await node.collector.collect()
    assert (told.removed, told.bytes) == (done.removed, done.bytes)
    assert told.bytes == len(b"loose")
    assert os.path.exists(node.content.blob_path(shared))


async def test_leases_hold_until_they_expire(node: Node, clock) -> None:
    await node.lease("l", seconds=60)
    async with node.content.writer(NS, "r", lease="l") as writer:
        await writer.write(b"held")
        held = (await writer.commit()).digest
    async with node.content.writer(NS, "part", lease="l") as writer:
        await writer.write(b"part")
    assert keys(await node.collector.collect()) == []
    assert await node.collector.next_expiry() == clock.now() + timedelta(seconds=60)
    clock.advance(61)
    assert sorted(keys(await node.collector.collect())) == [f"content/{held}", "ingest/part", "lease/l"]
    assert await node.content.statuses(NS) == []
    assert await node.collector.next_expiry() is None


async def test_expired_images_are_deleted_with_their_event(node: Node, clock) -> None:
    await node.image("old", await node.blob(b"x"), **{EXPIRE: clock.now().isoformat()})
    clock.advance(1)
    newest = node.db.newest
    await node.collector.collect()
    assert sorted(await node.topics(newest)) == ["/content/delete", "/images/delete"]


async def test_containers_keep_their_snapshot(node: Node) -> None:
    await node.snapshot("base")
    await node.snapshot("rw", "base", SnapshotKind.ACTIVE)
    value = Container("web", runtime="crun", snapshotter="overlay", snapshot_key="rw")
    await node.db.write(lambda tx: tx.containers.create(NS, value))
    assert keys(await node.collector.collect()) == []
    await node.db.write(lambda tx: tx.containers.delete(NS, "web"))
    assert keys(await node.collector.collect()) == ["snapshot/overlay/rw", "snapshot/overlay/base"]


async def test_what_is_in_flight_is_kept(node: Node) -> None:
    await node.snapshot("base")
    await node.snapshot("k", "base", SnapshotKind.ACTIVE)
    node.collector.protected.add("dir-k")
    async with node.content.writer(NS, "r", lease="") as writer:
        await writer.write(b"x")
        node.clock.advance(48 * 3600)
        assert keys(await node.collector.collect()) == []
        await writer.commit()
    node.collector.protected.clear()
    removed = [key for key in keys(await node.collector.collect()) if key.startswith("snapshot")]
    assert removed == ["snapshot/overlay/k", "snapshot/overlay/base"]


async def test_a_directory_that_cannot_go_yet_goes_later(node: Node) -> None:
    await node.snapshot("k")
    node.refuse.add("dir-k")
    assert keys(await node.collector.collect()) == ["snapshot/overlay/k"]
    assert node.collector.statistics()["snapshots_left"] == 1
    node.refuse.clear()
    assert keys(await node.collector.collect()) == []
    assert node.removed == [("overlay", "dir-k")]
    assert node.collector.statistics()["snapshots_left"] == 0


async def test_directories_without_records_are_found(node: Node) -> None:
    class Backend:
        name = "overlay"

        def __init__(self) -> None:
            self.removed: list[str] = []

        async def walk(self) -> list[str]:
            return ["dir-k", "in-flight", "half-made"]

        async def remove(self, backend_id: str) -> None:
            self.removed.append(backend_id)

    await node.snapshot("k")
    node.collector.protected.add("in-flight")
    backend = Backend()
    assert await node.collector.sweep_directories(backend) == ["half-made"]
    assert backend.removed == ["half-made"]


async def test_explanations(node: Node) -> None:
    loose, kept = await node.blob(b"loose"), await node.blob(b"kept")
    await node.image("a", kept)
    told = await node.collector.explain(NS, f"content/{kept}")
    assert told.kept
    assert told.chain == ("image/a: images are kept until deleted", f"content/{kept}: target of image/a")
    told = await node.collector.explain(NS, f"content/{loose}")
    assert not told.kept
    assert told.chain == ()
    assert "next collection" in told.note
    with pytest.raises(NotFound):
        await node.collector.explain(NS, "image/b")
    for bad in ("image", "image/", "thing/x", "snapshot/overlay", ""):
        with pytest.raises(InvalidArgument):
            await node.collector.explain(NS, bad)


async def test_explanations_tell_until_when(node: Node) -> None:
    held = await node.blob(b"held")
    await node.lease("l", seconds=60)
    await node.db.write(lambda tx: tx.leases.protect(NS, "l", "content", held))
    told = await node.collector.explain(NS, f"content/{held}")
    assert told.until == node.clock.now() + timedelta(seconds=60)
    assert [(keeper.object, keeper.until) for keeper in told.keepers] == [("lease/l", told.until)]
    node.clock.advance(61)
    told = await node.collector.explain(NS, f"content/{held}")
    assert told.lapsed == (f"lease/l holds it, but expired at {shown(told_at(node, -1))}",)
    assert told.collected_at is None  # nobody collects by schedule here


def told_at(node: Node, seconds: float) -> datetime:
    return node.clock.now() + timedelta(seconds=seconds)


async def test_namespaces_are_collected_apart(node: Node) -> None:
    one = await node.blob(b"same")
    await node.blob(b"same", namespace="other")
    await node.image("a", one)
    report = await node.collector.collect()
    assert [(entry["namespace"], entry["key"]) for entry in report.removed] == [("other", one)]
    assert report.bytes == 0
    assert await node.content.read(NS, one, limit=10) == b"same"


# -- by itself
async def test_runs_at_the_start_and_after_deletions(node: Node) -> None:
    blob = await node.blob(b"x")
    await node.image("a", blob)
    loose = await node.blob(b"loose")
    async with trio.open_nursery() as nursery:
        await nursery.start(node.collector.run)
        await gone(node, loose)
        assert os.path.exists(node.content.blob_path(blob))
        await node.db.write(lambda tx: tx.images.delete(NS, "a"))
        await gone(node, blob)
        runs = node.collector.statistics()["runs"]
        await trio.sleep(0.6)
        assert node.collector.statistics()["runs"] <= runs + 1  # its own deletions don't set it off
        nursery.cancel_scope.cancel()


async def test_runs_when_something_expires(node: Node) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(node.collector.run)
        await trio.sleep(0.2)
        await node.lease("l", seconds=0.5)
        async with node.content.writer(NS, "r", lease="l") as writer:
            await writer.write(b"held")
            held = (await writer.commit()).digest
        await trio.sleep(0.4)
        assert os.path.exists(node.content.blob_path(held))
        node.clock.advance(0.51)  # the wait itself is on the monotonic clock
        await gone(node, held)
        nursery.cancel_scope.cancel()


async def gone(node: Node, digest: Digest) -> None:
    with trio.fail_after(60):
        while os.path.exists(node.content.blob_path(digest)):
            await trio.sleep(0.02)


async def due(schedule: Schedule, within: float) -> bool:
    with trio.move_on_after(within) as scope:
        await schedule.wait_until_due()
    return not scope.cancelled_caught


async def test_few_changes_are_no_reason_and_many_are(db: Database, clock) -> None:
    schedule = Schedule(db, clock)
    schedule.end(schedule.begin(), 0, 0.001)
    for number in range(MUTATIONS - 1):
        await db.write(lambda tx, n=number: tx.namespaces.create(f"n{n}"))
    assert not await due(schedule, 0.7)
    await db.write(lambda tx: tx.namespaces.create("last"))
    assert await due(schedule, 60)


async def test_the_pace_can_be_set(db: Database, clock) -> None:
    pace = Pace(pause_threshold=0.5, deletion_threshold=2, mutation_threshold=0, schedule_delay=0.2)
    schedule = Schedule(db, clock, pace)
    schedule.end(schedule.begin(), 0, 0.01)
    assert schedule.interval == pytest.approx(0.01)
    for number in range(MUTATIONS + 1):
        await db.write(lambda tx, n=number: tx.namespaces.create(f"n{n}"))
    for name in ("a", "b"):
        await db.write(lambda tx, n=name: tx.leases.create("n", n))
        await db.write(lambda tx, n=name: tx.leases.delete("n", n))
    assert not await due(schedule, 0.3)
    assert schedule.due_at() is None
    await db.write(lambda tx: tx.leases.create("n", "c"))
    start = trio.current_time()
    await db.write(lambda tx: tx.leases.delete("n", "c"))
    assert schedule.due_at() is not None
    assert await due(schedule, 60)
    assert trio.current_time() - start >= 0.2


async def test_pauses_are_long_in_relation_to_the_work(db: Database, clock) -> None:
    schedule = Schedule(db, clock)
    assert schedule.interval == 1.0
    schedule.end(schedule.begin(), 0, 0.1)
    assert schedule.interval == pytest.approx(4.9)
    await db.write(lambda tx: tx.leases.create("n", "l"))
    await db.write(lambda tx: tx.leases.delete("n", "l"))
    assert not await due(schedule, 0.3)
    schedule.trigger()
    assert await due(schedule, 4)  # of a pause of 4.9


async def test_what_expired_during_a_pause_is_due_after_it(db: Database, clock) -> None:
    schedule = Schedule(db, clock)
    schedule.end(schedule.begin(), 0, 0.005)
    expiry = (clock.now() + timedelta(seconds=5)).isoformat()
    await db.write(lambda tx: tx.leases.create("n", "l", {EXPIRE: expiry}))
    clock.advance(6)
    assert await due(schedule, 60)
    schedule.end(schedule.begin(), 0, 0.005)  # something else keeps it: that is no reason to go on for ever
    assert not await due(schedule, 0.5)


async def test_after_a_failure_it_tries_again_later(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails() -> None:
        raise FailedPrecondition("no")

    monkeypatch.setattr(node.content, "sweep", fails)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.collector.run)
        await trio.sleep(0.3)
        monkeypatch.undo()
        node.collector.trigger()
        loose = await node.blob(b"loose")
        node.collector.trigger()
        await gone(node, loose)
        nursery.cancel_scope.cancel()
