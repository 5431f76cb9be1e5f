"""SIGKILL to the agent at every named step of what clients do with snapshots, diffs and mounts.

After the next start each directory has its record and each record its directory, nothing is mounted for
nobody, and the same work, asked again, succeeds.
"""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from tricorn.grpc import RpcError
from tricorn_testing.daemon import Daemon
from tricorn_testing.grpc_client import GrpcClient, grpc_client
from tricorn_testing.paths import found

pytestmark = [pytest.mark.root, pytest.mark.faults]
SERVICE = Path(__file__).parents[2] / "agent/tricorn/service"
OWN = ("snapshot_verbs.py", "diff.py", "mounts.py")
STEPS = sorted(
    name for file in OWN for name in re.findall(r'failpoint\("([a-z.-]+)"\)', (SERVICE / file).read_text())
)
ARMED = [f"{step}=kill" for step in STEPS] + ["snapshot.made=1*off->kill", "db.committed=3*off->kill"]
PATIENCE = 30.0
LOST = (RpcError, OSError, trio.BrokenResourceError, trio.ClosedResourceError)
SNAPSHOTS = "snapshots.v1.Snapshots"
KEPT = {"containerd.io/gc.root": "test"}
CONFIG = "[gc]\nschedule = false\n"


async def work(client: GrpcClient, attempt: str) -> None:
    """Prepare, commit, view, make a layer, apply it, activate mounts, and remove all again."""

    async def snapshot(method: str, **fields: Any) -> Any:
        return await client.call(SNAPSHOTS, method, snapshotter="overlayfs", **fields)

    base, lower, top, view = (f"{name}-{attempt}" for name in ("base", "lower", "top", "view"))
    mounts = (await snapshot("Prepare", key=base, labels=KEPT)).mounts
    (Path(mounts[0].source) / "file").write_text("content")
    layer = (await client.call("diff.v1.Diff", "Diff", right=mounts, ref=f"diff-{attempt}")).diff
    await snapshot("Commit", name=lower, key=base, labels=KEPT)
    mounts = (await snapshot("Prepare", key=top, parent=lower, labels=KEPT)).mounts
    await client.call("diff.v1.Diff", "Apply", diff=layer, mounts=mounts)
    shown = (await snapshot("View", key=view, parent=lower, labels=KEPT)).mounts
    await client.call("mounts.v1.Mounts", "Activate", name=f"m-{attempt}", mounts=shown, temporary=True)
    await client.call("mounts.v1.Mounts", "Deactivate", name=f"m-{attempt}")
    for key in (view, top, lower):
        await snapshot("Remove", key=key)


def check_nothing_unexplained(daemon: Daemon) -> None:
    with sqlite3.connect(f"file:{daemon.root}/db/tricorn.db?mode=ro", uri=True) as database:
        recorded = {row[0] for row in database.execute("SELECT backend_id FROM snapshots")}
        ingests = database.execute("SELECT ref FROM ingests").fetchall()
    database.close()
    deadline = time.monotonic() + PATIENCE  # directories go after the answer that their records are gone
    while {path.name for path in daemon.root.glob("snapshots/overlayfs/snapshots/*")} != recorded:
        assert time.monotonic() < deadline, "snapshot directories and records differ"
        time.sleep(0.05)
    # Bytes of a layer that was not finished are kept for a while, as any transfer's
    assert len(ingests) == len(list(daemon.root.glob("content/ingests/*")))
    active = {path.parent for path in found(daemon.state, "mounts/*/activation.json")}
    assert active == set(found(daemon.state, "mounts/*"))
    points = re.findall(rf" ({daemon.state}/mounts/[^ /]+)/", Path("/proc/self/mountinfo").read_text())
    assert set(map(Path, points)) == active, "something is mounted for nobody"


@pytest.mark.parametrize("armed", ARMED)
async def test_a_kill_at_any_step_is_survived(armed: str, short_path: Path) -> None:
    daemon = Daemon(short_path, config=CONFIG)
    try:
        await trio.to_thread.run_sync(lambda: daemon.start(TRICORN_FAILPOINTS=armed))
        with pytest.raises(LOST):
            async with grpc_client(daemon, "crash") as client:
                await work(client, "first")
        assert await trio.to_thread.run_sync(daemon.wait_exit, 30) == -9
        await trio.to_thread.run_sync(daemon.start)
        await trio.to_thread.run_sync(check_nothing_unexplained, daemon)
        async with grpc_client(daemon, "crash") as client:
            await work(client, "second")
        await trio.to_thread.run_sync(check_nothing_unexplained, daemon)
    except BaseException:
        print(daemon.log[-8000:])
        raise
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(daemon.clean_up)
