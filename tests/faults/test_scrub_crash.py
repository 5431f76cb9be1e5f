"""The agent is killed while it takes a damaged blob out of service, at each step: the next one serves nothing
that is damaged, has lost nothing else, and comes to the same end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tricorn.errors import NotFound
from tricorn.model.ids import Digest
from tricorn.model.scrubbing import ScrubSettings
from tricorn.service.refetch import Refetcher
from tricorn.service.scrub import ScrubService
from tricorn.store.collect import Collector
from tricorn.store.content import ContentStore
from tricorn.store.db import Database

pytestmark = pytest.mark.faults

NS = "team"
GOOD, BAD, CHILD_OF_BAD = b"good" * 1000, b"bad!" * 1000, b"child" * 1000

CHILD = """
import os, sys, trio
from datetime import UTC, datetime
from tricorn import failpoints
from tricorn.model.ids import Digest
from tricorn.model.scrubbing import ScrubSettings
from tricorn.model.oci import Descriptor
from tricorn.model.records import Image
from tricorn.service.scrub import ScrubService
from tricorn.store.content import ContentStore
from tricorn.store.db import Database

class Clock:
    def now(self):
        return datetime.now(UTC)

async def put(content, data, **labels):
    async with content.writer("team", f"ref-{len(labels)}-{data[:4]!r}") as writer:
        await writer.write(data)
        return (await writer.commit(labels=labels)).digest

async def main(root):
    async with Database.open(root + "/db/t.db", Clock()) as db:
        content = ContentStore(root + "/content", db, Clock())
        child = await put(content, b"child" * 1000)
        bad = await put(content, b"bad!" * 1000, **{"containerd.io/gc.ref.content.0": child})
        good = await put(content, b"good" * 1000)
        for name, digest in (("bad", bad), ("good", good)):
            await db.write(lambda tx: tx.images.put("team", Image(name, Descriptor("m", digest, 4000))))
        path = content.blob_path(bad)
        os.chmod(path, 0o600)
        with open(path, "r+b") as file:
            file.write(b"?")
        failpoints.arm(os.environ)
        await ScrubService(db, content, None, Clock(), ScrubSettings()).scrub()
    print("survived")

trio.run(main, *sys.argv[1:])
"""


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


async def no_removal(snapshotter: str, backend_id: str) -> None:
    raise AssertionError("there are no snapshots")


STEPS = ["scrub.verified", "db.commit", "db.committed", "quarantine.recorded", "quarantine.moved"]


def run_child(root: Path, step: str) -> None:
    environment = {"PATH": os.environ["PATH"], "TRICORN_FAILPOINTS": f"{step}=kill"}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2] / "agent")}
    command = [sys.executable, "-c", CHILD, str(root)]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert child.returncode == -signal.SIGKILL, (child.stdout, child.stderr)


@pytest.mark.parametrize("step", STEPS)
async def test_a_verification_can_be_cut_short_anywhere(tmp_path: Path, step: str) -> None:
    run_child(tmp_path, step)
    bad, files = Digest.of(BAD), tmp_path / "content"
    async with Database.open(str(tmp_path / "db/t.db"), Clock()) as db:
        content = ContentStore(str(files), db, Clock())
        await Collector(db, content, no_removal, Clock()).collect()
        scrubber = ScrubService(
            db,
            content,
            Refetcher(db, content, None),
            Clock(),
            ScrubSettings(),  # type: ignore[arg-type]  # asks nobody
        )
        report = await scrubber.scrub()
        with pytest.raises(NotFound):
            await content.info(NS, bad)
        assert {info.digest for info in await content.list(NS)} == {Digest.of(GOOD), Digest.of(CHILD_OF_BAD)}
        for data in (GOOD, CHILD_OF_BAD):
            assert await content.read(NS, Digest.of(data), limit=1 << 20) == data
        (found,) = await scrubber.quarantined()
        assert (found.digest, found.namespaces) == (bad, (NS,))
        assert set(os.listdir(files / "quarantine")) <= {found.file}
        assert [item.digest for item in report.damaged] in ([], [bad])
        await Collector(db, content, no_removal, Clock()).collect()  # what needs the blob keeps its place
        async with content.writer(NS, "again", expected=bad) as writer:
            await writer.write(BAD)
            await writer.commit(expected=bad)
        assert (await content.info(NS, bad)).labels["containerd.io/gc.ref.content.0"] == Digest.of(
            CHILD_OF_BAD
        )
        await scrubber.release(bad)
        assert os.listdir(files / "quarantine") == []
        assert len(os.listdir(files / "blobs/sha256")) == 3
