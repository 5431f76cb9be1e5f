"""SIGKILL to the agent with a layer half here: the next pull goes on from there, and is whole."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import trio

from tricorn import limits
from tricorn_testing.daemon import Daemon
from tricorn_testing.faulty_registry import FaultyRegistry, silent_after
from tricorn_testing.pulling import noisy_layout

pytestmark = [pytest.mark.root, pytest.mark.faults]
PART = limits.TRANSFER_BUFFER  # what is on disk of a layer that falls silent after a little more


@pytest.fixture
def daemon(short_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(short_path)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.clean_up()


async def pull(daemon: Daemon, registry: FaultyRegistry) -> None:
    body = {"reference": registry.reference, "plain_http": True}
    with trio.fail_after(60):
        await trio.to_thread.run_sync(partial(daemon.put, "/v1/default/images", body), abandon_on_cancel=True)


async def begin(daemon: Daemon, registry: FaultyRegistry) -> None:
    """Pull in the background until the agent is gone."""
    try:
        await pull(daemon, registry)
    except Exception:  # noqa: BLE001 - whatever a client sees of an agent that dies
        return


def on_disk(daemon: Daemon) -> int:
    """Bytes of the largest ingest."""
    try:
        return max((path.stat().st_size for path in daemon.root.glob("content/ingests/**/data")), default=0)
    except FileNotFoundError:  # a document's was over between two looks
        return 0


async def test_a_layer_half_here_is_gone_on_with(daemon: Daemon, tmp_path: Path) -> None:
    registry = FaultyRegistry(*noisy_layout(tmp_path), {"layer": [silent_after(PART + 1000)]})
    async with registry.serving(), trio.open_nursery() as nursery:
        nursery.start_soon(begin, daemon, registry)
        with trio.fail_after(60):
            while on_disk(daemon) < PART:  # noqa: ASYNC110 - another process makes it true
                await trio.sleep(0.01)
        await trio.to_thread.run_sync(daemon.kill)
        await trio.to_thread.run_sync(daemon.start)
        check_kept_for_a_while(daemon)
        await trio.to_thread.run_sync(partial(daemon.post, "/v1/gc"))  # which leaves what a pull may need
        await pull(daemon, registry)
        assert registry.offsets() == [0, PART]
    check_whole(daemon)


def check_kept_for_a_while(daemon: Daemon) -> None:
    """What came is held for the next pull, but not for the day that a pull may take."""
    (lease,) = daemon.get("/v1/default/leases")["items"]
    left = datetime.fromisoformat(lease["labels"]["containerd.io/gc.expire"]) - datetime.now(UTC)
    assert timedelta() < left <= timedelta(seconds=limits.PULL_KEPT_SECONDS)


def check_whole(daemon: Daemon) -> None:
    (image,) = daemon.get("/v1/default/images")["items"]
    assert image["unpacked"]
    for blob in daemon.root.glob("content/blobs/sha256/*"):
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    assert on_disk(daemon) == 0
    with sqlite3.connect(f"file:{daemon.root}/db/tricorn.db?mode=ro", uri=True) as database:
        assert database.execute("SELECT count(*) FROM ingests").fetchone() == (0,)
        recorded = {row[0] for row in database.execute("SELECT backend_id FROM snapshots")}
    database.close()
    assert {path.name for path in daemon.root.glob("snapshots/overlayfs/snapshots/*")} == recorded
