"""The agent is killed at each step of a commit and of a collection; the store that is opened next is whole."""

# ruff: noqa: ASYNC240 - a test may look at the disk itself

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tricorn.errors import AlreadyExists, NotFound
from tricorn.model.ids import Digest
from tricorn.store.collect import Collector
from tricorn.store.connection import marker
from tricorn.store.content import ContentStore
from tricorn.store.db import Database

pytestmark = pytest.mark.faults

NS = "team"
KEPT = b"kept" * 1000
NEW = b"new!" * 1000
LAYER, LEASED = b"layer" * 1000, b"leased" * 1000  # what the kept blob names, and what a lease holds

CHILD = """
import os, sys, trio
from datetime import UTC, datetime
from tricorn import failpoints
from tricorn.model.oci import Descriptor
from tricorn.model.ids import Digest
from tricorn.model.records import Image, Snapshot, SnapshotKind
from tricorn.store.collect import Collector
from tricorn.store.content import ContentStore
from tricorn.store.db import Database

class Clock:
    def now(self):
        return datetime.now(UTC)

async def remove(snapshotter, backend_id):
    os.rmdir(os.path.join(sys.argv[1], backend_id))

async def put(content, data, labels=None, lease=""):
    async with content.writer("team", "ref", lease=lease) as writer:
        await writer.write(data)
        return (await writer.commit(expected=Digest.of(data), labels=labels)).digest

async def main(root, what):
    async with Database.open(root + "/db/t.db", Clock()) as db:
        content = ContentStore(root + "/content", db, Clock())
        collector = Collector(db, content, remove, Clock())
        labels = {}
        if what == "collect":
            layer = await put(content, b"layer" * 1000)
            labels = {"containerd.io/gc.ref.content.0": layer, "containerd.io/gc.ref.snapshot.overlay": "top"}
            await db.write(lambda tx: tx.leases.create("team", "l"))
            await put(content, b"leased" * 1000, lease="l")
        kept = await put(content, b"kept" * 1000, labels)
        await db.write(lambda tx: tx.images.put("team", Image("i", Descriptor("m", kept, 1))))
        if what == "collect":
            await put(content, b"new!" * 1000)
            for name, parent in (("base", ""), ("top", "base"), ("a", ""), ("b", "base")):
                os.mkdir(root + "/" + name)
                record = Snapshot("overlay", name, SnapshotKind.COMMITTED, name, parent)
                await db.write(lambda tx: tx.snapshots.create("team", record))
        failpoints.arm(os.environ)
        await (collector.collect() if what == "collect" else put(content, b"new!" * 1000))
    print("survived")

trio.run(main, *sys.argv[1:])
"""


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


def run_child(root: Path, what: str, failpoint: str) -> None:
    """Run the child until it kills itself at `failpoint`."""
    environment = {"PATH": os.environ["PATH"], "TRICORN_FAILPOINTS": failpoint}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2] / "agent")}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(root), what],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, (child.stdout, child.stderr)


def files(root: Path) -> set[str]:
    return {path.name for path in (root / "content" / "blobs" / "sha256").iterdir()}


async def no_removal(snapshotter: str, backend_id: str) -> None:
    raise AssertionError("no snapshot is left to remove")


COMMIT = [
    "content.begun", "content.synced", "content.verified", "content.renamed", "content.durable", "db.commit",
    "db.committed", "content.recorded",
]  # fmt: skip


@pytest.mark.parametrize("step", COMMIT)
async def test_a_commit_is_whole_or_not_there(tmp_path: Path, step: str) -> None:
    # The first transaction of the armed child begins the ingest, the second one records the blob.
    run_child(tmp_path, "commit", f"{step}=1*off->kill" if step.startswith("db.") else f"{step}=kill")
    assert os.path.exists(marker(str(tmp_path / "db/t.db")))
    async with Database.open(str(tmp_path / "db/t.db"), Clock()) as db:
        content = ContentStore(str(tmp_path / "content"), db, Clock())
        collector = Collector(db, content, no_removal, Clock())
        for info in await content.list(NS):  # whatever has a record has its bytes
            assert len(await content.read(NS, info.digest, limit=1 << 20)) == info.size
        for name in files(tmp_path):  # whatever is under its name is what it says
            data = (tmp_path / "content/blobs/sha256" / name).read_bytes()
            assert Digest.of(data).hex == name
        recorded = {info.digest for info in await content.list(NS)}
        assert (Digest.of(NEW) in recorded) is (step in {"db.committed", "content.recorded"})
        await write_again(content)
        assert await content.statuses(NS) == []
        await collector.collect()
        assert files(tmp_path) == {Digest.of(KEPT).hex}
        assert os.listdir(tmp_path / "content/ingests") == []
        assert os.listdir(tmp_path / "content/trash") == []


async def write_again(content: ContentStore) -> None:
    try:
        async with content.writer(NS, "ref", expected=Digest.of(NEW)) as writer:
            assert writer.offset in (0, len(NEW))
            await writer.write(NEW[writer.offset :])
            await writer.commit(expected=Digest.of(NEW))
    except AlreadyExists:
        pass
    assert await content.read(NS, Digest.of(NEW), limit=1 << 20) == NEW


COLLECT = [
    "collect.marked", "db.commit", "db.committed", "collect.deleted", "collect.snapshot_removed", "content.swept",
]  # fmt: skip


@pytest.mark.parametrize("step", COLLECT)
async def test_a_collection_can_be_cut_short_anywhere(tmp_path: Path, step: str) -> None:
    run_child(tmp_path, "collect", f"{step}=kill")

    class Directories:
        name = "overlay"

        async def walk(self) -> list[str]:
            return [name for name in ("a", "b", "base", "top") if (tmp_path / name).exists()]

        async def remove(self, backend_id: str) -> None:
            (tmp_path / backend_id).rmdir()

    async def remove(snapshotter: str, backend_id: str) -> None:
        await Directories().remove(backend_id)

    async with Database.open(str(tmp_path / "db/t.db"), Clock()) as db:
        content = ContentStore(str(tmp_path / "content"), db, Clock())
        collector = Collector(db, content, remove, Clock())
        for data in (KEPT, LAYER, LEASED):
            assert await content.read(NS, Digest.of(data), limit=1 << 20) == data
        done = step not in {"collect.marked", "db.commit"}
        if done:
            with pytest.raises(NotFound):
                await content.info(NS, Digest.of(NEW))
        else:
            assert await content.read(NS, Digest.of(NEW), limit=1 << 20) == NEW
        await collector.collect()
        await collector.sweep_directories(Directories())  # what only the killed agent knew of
        assert await Directories().walk() == ["base", "top"]
        assert await db.read(lambda tx: [item.key for item in tx.snapshots.list(NS)]) == ["base", "top"]
        assert files(tmp_path) == {Digest.of(data).hex for data in (KEPT, LAYER, LEASED)}
        assert os.listdir(tmp_path / "content/trash") == []
        await write_again(content)
