"""Verification of blobs: what it finds on a damaged disk, in which order it goes, and how blobs come back."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tricorn import limits
from tricorn.errors import DataLoss, FailedPrecondition, NotFound, Unavailable
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_MANIFEST, Descriptor
from tricorn.model.reference import Reference
from tricorn.model.scrubbing import ScrubSettings
from tricorn.service.progress import Reporter
from tricorn.service.refetch import Refetcher
from tricorn.service.scrub import ScrubService
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn_testing.clock import HandClock

NS = "team"
SOURCE = "containerd.io/distribution.source.registry.example:5000"
BIG = os.urandom(9 << 20)  # more than two slices


class FakeRegistry:
    """Serves blobs and manifests apart, as registries do; notes what it was asked for."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.manifests: dict[Digest, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.down = False

    async def fetch(self, reference: Reference, descriptor: Descriptor, sink: Any, **_: Any) -> None:
        self.asked.append((reference.name, descriptor.media_type))
        if self.down:
            raise Unavailable("the registry is down")
        kept = self.manifests if descriptor.media_type == OCI_MANIFEST else self.blobs
        if descriptor.digest not in kept:
            raise NotFound("no such blob")
        await sink.write(kept[descriptor.digest][sink.offset :])


class Node:
    def __init__(self, root: Path, db: Database, clock: HandClock) -> None:
        self.db = db
        self.clock = clock
        self.store = ContentStore(str(root / "content"), db, clock)
        self.registry = FakeRegistry()
        self.refetcher = Refetcher(db, self.store, self.registry)  # type: ignore[arg-type]  # fetches only

    def scrubber(self, *, busy: Any = lambda: False, start: float = 0.0, **settings: Any) -> ScrubService:
        settings = {"rate": 1 << 40, "interval": 3600.0, **settings}
        return ScrubService(
            self.db, self.store, self.refetcher, self.clock, ScrubSettings(**settings), busy, start=start
        )

    async def put(self, data: bytes, namespace: str = NS, **labels: str) -> Digest:
        async with self.store.writer(namespace, f"ref-{Digest.of(data)}") as writer:
            await writer.write(data)
            return (await writer.commit(labels=labels)).digest

    def file(self, digest: Digest) -> Path:
        return Path(self.store.blob_path(digest))

    def flip(self, digest: Digest, place: int = -1) -> None:
        path = self.file(digest)
        data = bytearray(path.read_bytes())
        data[place] ^= 0x10
        path.chmod(0o600)
        path.write_bytes(data)

    async def checked(self, digest: Digest) -> Any:
        return await self.db.read(lambda tx: tx.blob_checks.at(digest))


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    clock = HandClock()
    async with Database.open(str(tmp_path / "db" / "t.db"), clock) as db:
        yield Node(tmp_path, db, clock)


async def test_everything_is_found_at_once(node: Node) -> None:
    good, flipped, short, gone = [await node.put(data) for data in (BIG, b"flip" * 999, b"short", b"gone")]
    node.flip(flipped, 17)
    node.file(short).chmod(0o600)
    node.file(short).write_bytes(b"sho")
    node.file(gone).unlink()
    node.file(Digest.of(b"orphan")).write_bytes(b"orphan")
    await node.put(b"")
    reporter = Reporter()
    report = await node.scrubber().scrub(report=reporter)
    assert {(item.digest, item.why.split(" ")[0]) for item in report.damaged} == {
        (flipped, "its"), (short, "its"), (gone, "its"),
    }  # fmt: skip
    assert (report.checked, report.restored, report.failed) == (5, (), ())
    assert [(item.digest, item.size) for item in report.orphans] == [(str(Digest.of(b"orphan")), 6)]
    assert not node.file(Digest.of(b"orphan")).exists()
    assert sorted(info.digest for info in await node.store.list(NS)) == sorted([good, Digest.of(b"")])
    assert await node.checked(good) == node.clock.now()
    assert await node.checked(flipped) is None
    again = await node.scrubber().scrub()
    assert (again.checked, again.damaged, again.orphans) == (2, (), ())
    status = await node.scrubber().status()
    assert (status.blobs, status.never_checked, status.quarantined, status.waiting) == (2, 0, 3, 3)


async def test_one_namespaces_blobs_only_and_orphans_kept(node: Node) -> None:
    mine, others = await node.put(b"mine"), await node.put(b"others", "other")
    node.flip(mine)
    node.flip(others)
    orphan = node.file(Digest.of(b"orphan"))
    orphan.write_bytes(b"orphan")
    report = await node.scrubber().scrub(NS, keep_orphans=True)
    assert [item.digest for item in report.damaged] == [mine]
    assert [item.digest for item in report.orphans] == [str(Digest.of(b"orphan"))]
    assert orphan.exists()
    assert (await node.store.info("other", others)).digest == others


async def test_a_round_goes_on_where_the_last_one_stopped(node: Node) -> None:
    digests = [await node.put(name) for name in (b"a", b"b", b"c", b"d")]
    for digest in digests[:2]:
        await node.db.write(lambda tx, digest=digest: tx.blob_checks.passed(digest))
    node.flip(digests[0])  # checked a moment ago: not due
    node.flip(digests[3])
    node.clock.advance(60)
    scrubber = node.scrubber()
    await scrubber.round()
    assert [item.digest for item in await scrubber.quarantined()] == [digests[3]]
    assert scrubber.statistics()["checked"] == 2
    node.clock.advance(3600)
    await scrubber.round()
    assert {item.digest for item in await scrubber.quarantined()} == {digests[0], digests[3]}


async def test_a_round_that_is_cut_short_keeps_what_it_did(node: Node) -> None:
    small, big = await node.put(b"small"), await node.put(BIG)
    await node.db.write(lambda tx: tx.blob_checks.passed(big))
    node.clock.advance(4000)
    scrubber = node.scrubber(rate=4096)  # the rest after the first slice lasts long

    async with trio.open_nursery() as nursery:
        nursery.start_soon(scrubber.round)
        with trio.fail_after(30):
            while await node.checked(small) is None:  # noqa: ASYNC110 - the database has no event for it
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    due = await node.db.read(lambda tx: tx.blob_checks.due(node.clock.now()))
    assert due == [(big, len(BIG))]
    assert (await scrubber.status()).current == ""


async def test_it_keeps_to_its_rate_and_gives_way(
    node: Node, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(function: Any, *args: Any, **_: Any) -> Any:
        return function(*args)

    await node.put(BIG)
    monkeypatch.setattr("tricorn.service.scrub.trio.to_thread.run_sync", at_once)
    start = trio.current_time()
    await node.scrubber(rate=1 << 20).round()
    assert 8 <= trio.current_time() - start <= 13  # three slices of four seconds each
    looks = iter([True, True, True, False, False, False])
    node.clock.advance(4000)
    start = trio.current_time()
    await node.scrubber(busy=lambda: next(looks)).round()
    assert 3 <= trio.current_time() - start < 4


async def test_a_suspect_comes_first(node: Node) -> None:
    digest = await node.put(b"suspect")
    await node.db.write(lambda tx: tx.blob_checks.passed(digest))
    node.flip(digest)
    with pytest.raises(DataLoss):
        await node.store.read(NS, digest, limit=100)
    scrubber = node.scrubber()
    await scrubber.round()
    assert [item.digest for item in await scrubber.quarantined()] == [digest]
    assert node.store.suspects == set()


async def test_blobs_and_manifests_come_back_from_where_they_came(node: Node) -> None:
    layer = await node.put(BIG, **{SOURCE: "team/app,team/old", "containerd.io/uncompressed": "x"})
    manifest = await node.put(b"{}", **{SOURCE: "team/app"})
    node.registry.blobs[layer], node.registry.manifests[manifest] = BIG, b"{}"
    node.flip(layer)
    node.flip(manifest)
    report = await node.scrubber(refetch=True).scrub()
    assert sorted(report.restored) == sorted([str(layer), str(manifest)])
    assert report.failed == ()
    assert all(item.restored and not item.namespaces for item in report.damaged)
    assert (await node.store.info(NS, layer)).labels["containerd.io/uncompressed"] == "x"
    assert node.file(layer).read_bytes() == BIG
    assert ("registry.example:5000/team/app", OCI_MANIFEST) in node.registry.asked
    assert (await node.scrubber().scrub()).damaged == ()


async def test_nothing_is_fetched_unless_that_is_allowed_or_asked_for(node: Node) -> None:
    digest = await node.put(b"data", **{SOURCE: "team/app"})
    node.registry.blobs[digest] = b"data"
    node.flip(digest)
    scrubber = node.scrubber()
    await scrubber.scrub()
    assert node.registry.asked == []
    with pytest.raises(FailedPrecondition, match="still missed"):
        await scrubber.release(digest)
    restored = await scrubber.fetch(digest)
    assert restored.restored
    await scrubber.release(digest)
    assert await scrubber.quarantined() == []
    with pytest.raises(NotFound):
        await scrubber.fetch(digest)


async def test_what_does_not_come_back_is_told_and_tried_again(node: Node) -> None:
    digest = await node.put(b"data", **{SOURCE: "team/app"})
    homeless = await node.put(b"homeless")
    odd = await node.put(b"odd", **{SOURCE: "../Not a repository"})
    for each in (digest, homeless, odd):
        node.flip(each)
    node.registry.blobs[digest] = b"evil"
    scrubber = node.scrubber(refetch=True)
    report = await scrubber.scrub()
    assert report.restored == ()
    told = "\n".join(report.failed)
    assert "has other bytes" in told
    assert told.count("nobody knows where") == 2
    assert await node.store.statuses(NS) == []  # the wrong bytes are gone
    node.registry.down = True
    assert "is down" in "\n".join((await scrubber.scrub()).failed)
    node.registry.down = False
    node.registry.blobs[digest] = b"data"
    await scrubber.round()
    assert await node.store.read(NS, digest, limit=10) == b"data"
    with pytest.raises(FailedPrecondition, match="nobody knows"):
        await scrubber.fetch(homeless)
    await scrubber.release(homeless, force=True)
    assert homeless not in await node.db.read(lambda tx: tx.quarantine.waiting())


async def test_it_runs_for_ever_and_survives_failures(
    node: Node, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = []

    async def one_round() -> None:
        rounds.append(trio.current_time())
        if len(rounds) == 1:
            raise Unavailable("not now")

    scrubber = node.scrubber(start=100.0)
    monkeypatch.setattr(scrubber, "round", one_round)
    async with trio.open_nursery() as nursery:
        await nursery.start(scrubber.run)
        await trio.sleep(1500)
        nursery.cancel_scope.cancel()
    assert len(rounds) == 3
    assert rounds[0] >= 100


async def test_what_nobody_misses_is_let_go_of_in_the_end(node: Node, tmp_path: Path) -> None:
    missed, back = await node.put(b"missed"), await node.put(b"back")
    node.flip(missed)
    node.flip(back)
    scrubber = node.scrubber()
    await scrubber.scrub()
    await node.put(b"back")
    node.clock.advance(limits.QUARANTINE_SECONDS - 1)
    await scrubber.round()
    assert len(await scrubber.quarantined()) == 2
    node.clock.advance(2)
    await scrubber.round()
    assert [item.digest for item in await scrubber.quarantined()] == [missed]
    assert len(os.listdir(tmp_path / "content/quarantine")) == 1


async def test_one_at_a_time(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    scrubber = node.scrubber()
    entered, leave = trio.Event(), trio.Event()

    async def slow(*_: Any, **__: Any) -> Any:
        entered.set()
        await leave.wait()
        return (), 0

    monkeypatch.setattr(scrubber, "_orphans", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scrubber.scrub)
        with trio.fail_after(30):
            await entered.wait()
        with pytest.raises(FailedPrecondition, match="under way"):
            await scrubber.scrub()
        leave.set()


async def test_files_in_quarantine_without_a_record_are_leftovers(node: Node, tmp_path: Path) -> None:
    (tmp_path / "content/quarantine/sha256-left").write_bytes(b"x")
    assert (await node.scrubber().scrub()).leftovers == 1
    assert os.listdir(tmp_path / "content/quarantine") == []


async def test_when_a_blob_was_verified(node: Node) -> None:
    digest = await node.put(b"data")
    scrubber = node.scrubber()
    assert (await scrubber.check_of(NS, digest)).checked_at is None
    await scrubber.scrub()
    assert (await scrubber.check_of(NS, digest)).checked_at == node.clock.now()
    with pytest.raises(NotFound):
        await scrubber.check_of("other", digest)
