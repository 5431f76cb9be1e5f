"""Changes that are answered before they are on disk, and what waits until they are."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import trio
import trio.testing

from tricorn.errors import Internal, Unavailable
from tricorn.store.db import Database

pytestmark = pytest.mark.usefixtures("flushes")


class Flushes:
    """Counts the flushes of the log, which wait while `gate` is closed, and fail with `error`."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()
        self.error: OSError | None = None
        self.count = 0

    def __call__(self, descriptor: int) -> None:
        assert os.readlink(f"/proc/self/fd/{descriptor}").endswith("-wal")
        self.count += 1
        self.began.set()
        assert self.gate.wait(60)
        if self.error:
            raise self.error


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> Flushes:
    made = Flushes()
    monkeypatch.setattr(os, "fdatasync", made)
    return made


async def test_a_change_is_answered_and_seen_before_its_flush(db: Database, flushes: Flushes) -> None:
    flushes.gate.clear()
    await db.write_soon(lambda tx: tx.namespaces.create("one"))
    assert [each.name for each in await db.read(lambda tx: tx.namespaces.list())] == ["one"]
    over = []

    async def wait() -> None:
        await db.flushed()
        over.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not over
        flushes.gate.set()
    assert flushes.count == 1


async def test_changes_amid_a_flush_share_the_next_one(db: Database, flushes: Flushes) -> None:
    flushes.gate.clear()
    await db.write_soon(lambda tx: tx.namespaces.create("first"))
    assert await trio.to_thread.run_sync(flushes.began.wait, 30)
    for number in range(5):
        await db.write_soon(lambda tx, n=number: tx.namespaces.create(f"n{n}"))
    with trio.move_on_after(0.05) as scope:
        await db.flushed()
    assert scope.cancelled_caught, "who waits can be cancelled"
    flushes.gate.set()
    await db.flushed()
    assert flushes.count == 2


async def test_nothing_is_waited_for_when_nothing_was_noted(db: Database, flushes: Flushes) -> None:
    await db.write(lambda tx: tx.namespaces.create("durable"))
    await db.write(lambda tx: tx.namespaces.create("careless"), durable=False)
    await db.flushed()
    assert flushes.count == 0


async def test_a_change_that_fails_needs_no_flush(db: Database, flushes: Flushes) -> None:
    with pytest.raises(ZeroDivisionError):
        await db.write_soon(lambda tx: 1 / 0)
    await db.flushed()
    assert flushes.count == 0


async def test_a_disk_that_fails_is_told_and_tried_again(db: Database, flushes: Flushes) -> None:
    flushes.gate.clear()
    flushes.error = OSError(5, "Input/output error")
    await db.write_soon(lambda tx: tx.namespaces.create("one"))
    raised = []

    async def wait() -> None:
        with pytest.raises(Internal, match="Input/output error"):
            await db.flushed()
        raised.append(True)

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.05)
        flushes.gate.set()
    assert raised == [True, True]
    flushes.error = None
    await db.flushed()
    assert flushes.count == 2


async def test_a_closed_database_has_flushed_all(tmp_path: Path, clock, flushes: Flushes) -> None:
    async with Database.open(str(tmp_path / "t.db"), clock) as db:
        await db.write_soon(lambda tx: tx.namespaces.create("one"))
    assert flushes.count == 1
    with pytest.raises(Unavailable):
        await db.flushed()
