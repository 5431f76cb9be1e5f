"""The database as its users see it: atomic, grouped, typed errors, woken subscribers."""

# ruff: noqa: ASYNC230, ASYNC240 - a test may look at the disk itself

from __future__ import annotations

import itertools
import os
import sqlite3
import threading
from pathlib import Path

import pytest
import trio
import trio.testing

from tricorn import limits
from tricorn.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    Internal,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from tricorn.store.connection import marker
from tricorn.store.db import Database
from tricorn.store.schema import MIGRATIONS
from tricorn.store.transaction import Transaction

NORMAL, FULL = 1, 2  # of SQLite's `PRAGMA synchronous`


async def names(db: Database) -> list[str]:
    return [namespace.name for namespace in await db.read(lambda tx: tx.namespaces.list())]


async def test_a_write_is_seen_by_the_next_read(db: Database) -> None:
    await db.write(lambda tx: tx.namespaces.create("one"))
    assert await names(db) == ["one"]


async def test_records_survive_a_restart(tmp_path: Path, clock) -> None:
    path = str(tmp_path / "db" / "t.db")
    for expected in ([], ["one"]):
        async with Database.open(path, clock) as db:
            assert await names(db) == expected
            await db.write(lambda tx: tx.namespaces.ensure("one"))
    assert oct(os.stat(path).st_mode & 0o777) == "0o600"
    assert oct(os.stat(tmp_path / "db").st_mode & 0o777) == "0o700"
    assert os.listdir(tmp_path / "db") == ["t.db"]


async def test_an_exception_undoes_its_own_function_only(db: Database) -> None:
    """All in one batch, since the writing thread is kept busy until they are queued."""
    gate = threading.Event()
    raised = []

    def fails(tx: Transaction) -> None:
        tx.namespaces.create("undone")
        raise ValueError("mine")

    async def expect_failure() -> None:
        with pytest.raises(ValueError, match="mine"):
            await db.write(fails)
        raised.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(db.write, lambda tx: gate.wait(60))
        await trio.testing.wait_all_tasks_blocked(0.05)
        nursery.start_soon(db.write, lambda tx: tx.namespaces.create("before"))
        nursery.start_soon(expect_failure)
        nursery.start_soon(db.write, lambda tx: tx.namespaces.create("after"))
        await trio.testing.wait_all_tasks_blocked(0.05)
        gate.set()
    assert raised == [True]
    assert await names(db) == ["after", "before"]
    assert db.statistics()["largest_batch"] == 3
    assert db.statistics()["failed_writes"] == 1


async def test_writers_share_commits(db: Database) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(300):
            nursery.start_soon(db.write, lambda tx, n=number: tx.namespaces.create(f"n{n}"))
    assert len(await names(db)) == 300
    assert db.statistics()["batches"] < 150


async def test_a_cancelled_caller_whose_change_is_under_way_has_it_done(db: Database) -> None:
    started = threading.Event()
    gate = threading.Event()

    def slow(tx: Transaction) -> str:
        started.set()
        gate.wait(60)
        tx.namespaces.create("done")
        return "result"

    results = []

    async def call() -> None:
        results.append(await db.write(slow))
        await trio.lowlevel.checkpoint()
        results.append("not reached")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await trio.to_thread.run_sync(started.wait, 10)
        nursery.cancel_scope.cancel()
        gate.set()
    assert results == ["result"]
    assert await names(db) == ["done"]


async def test_a_caller_cancelled_before_gets_nothing_done(db: Database) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await db.write(lambda tx: tx.namespaces.create("never"))
    assert scope.cancelled_caught
    assert await names(db) == []


async def test_reads_cannot_write(db: Database) -> None:
    with pytest.raises(FailedPrecondition):
        await db.read(lambda tx: tx.namespaces.create("one"))
    assert await names(db) == []


async def test_a_read_is_one_snapshot(db: Database) -> None:
    began = trio.Event()
    token = trio.lowlevel.current_trio_token()
    proceed = threading.Event()
    seen = []

    def look(tx: Transaction) -> None:
        seen.append(len(tx.namespaces.list()))
        token.run_sync_soon(began.set)
        proceed.wait(60)
        seen.append(len(tx.namespaces.list()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(db.read, look)
        await began.wait()
        await db.write(lambda tx: tx.namespaces.create("one"))
        proceed.set()
    assert seen == [0, 0]
    assert await names(db) == ["one"]


async def test_subscribers_are_woken_with_the_sequence(db: Database, autojump_clock) -> None:
    assert db.newest == 0
    woken = []

    async def subscribe() -> None:
        woken.append(await db.wait_beyond(1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(subscribe)
        await db.write(lambda tx: tx.events.publish("one", "/tasks/start", {}))
        assert woken == []
        await db.write(lambda tx: tx.events.publish("one", "/tasks/exit", {}))
    assert woken == [2]
    assert await db.wait_beyond(0) == 2


async def test_events_of_a_failed_function_never_were(db: Database) -> None:
    def fails(tx: Transaction) -> None:
        tx.events.publish("one", "/tasks/start", {})
        raise NotFound("nothing")

    with pytest.raises(NotFound):
        await db.write(fails)
    assert db.newest == 0
    await db.write(lambda tx: tx.events.publish("one", "/tasks/exit", {}))
    events, oldest, newest = await db.read(lambda tx: tx.events.page(0))
    assert [event.topic for event in events] == ["/tasks/exit"]
    assert (oldest, newest) == (1, 1)


async def test_the_journal_is_trimmed_at_commit(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def many(tx: Transaction) -> None:
        for number in range(limits.EVENTS_KEPT // 1000 + 5):
            tx.events.publish("one", "/tasks/start", {"n": number})

    monkeypatch.setattr("tricorn.store.journal.Events.trim.__defaults__", (100,), raising=False)
    await db.write(many)
    events, oldest, newest = await db.read(lambda tx: tx.events.page(0))
    assert (len(events), oldest, newest) == (100, 6, 105)


async def test_a_full_disk_is_told_and_leaves_what_was_there(db: Database, tmp_path: Path) -> None:
    await db.write(lambda tx: tx.namespaces.create("one"))

    def limit(tx: Transaction) -> None:
        (pages,) = tx.session.connection.execute("PRAGMA page_count").fetchone()
        tx.session.connection.execute(f"PRAGMA max_page_count={pages}")

    def fill(tx: Transaction) -> None:
        for number in range(2000):
            tx.intents.begin("one", "create", f"x{number}", {"data": "x" * 1000})

    await db.write(limit)
    with pytest.raises(ResourceExhausted) as caught:
        await db.write(fill)
    assert "free space" in caught.value.hint
    assert await db.read(lambda tx: tx.intents.list_all()) == []
    await db.write(lambda tx: tx.session.connection.execute("PRAGMA max_page_count=100000"))
    await db.write(fill)
    assert await names(db) == ["one"]


async def test_a_lost_transaction_fails_all_of_its_batch(db: Database) -> None:
    gate = threading.Event()
    outcomes = []

    def loses(tx: Transaction) -> None:
        tx.session.connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    async def attempt(function) -> None:
        try:
            await db.write(function)
            outcomes.append("done")
        except Internal as error:
            outcomes.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(db.write, lambda tx: gate.wait(60))
        await trio.testing.wait_all_tasks_blocked(0.05)
        nursery.start_soon(attempt, lambda tx: tx.namespaces.create("before"))
        nursery.start_soon(attempt, loses)
        nursery.start_soon(attempt, lambda tx: tx.namespaces.create("after"))
        await trio.testing.wait_all_tasks_blocked(0.05)
        gate.set()
    assert [type(outcome) for outcome in outcomes] == [Internal] * 3
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert await names(db) == []
    await db.write(lambda tx: tx.namespaces.create("works"))
    assert await names(db) == ["works"]


async def test_closed_means_unavailable(tmp_path: Path, clock) -> None:
    async with Database.open(str(tmp_path / "t.db"), clock) as db:
        pass
    with pytest.raises(Unavailable):
        await db.write(lambda tx: None)
    with pytest.raises(Unavailable):
        await db.read(lambda tx: None)


async def test_what_was_submitted_before_closing_is_done(tmp_path: Path, clock) -> None:
    path = str(tmp_path / "t.db")
    async with trio.open_nursery() as nursery, Database.open(path, clock) as db:
        for number in range(20):
            nursery.start_soon(db.write, lambda tx, n=number: tx.namespaces.create(f"n{n}"))
        await trio.testing.wait_all_tasks_blocked()
    async with Database.open(path, clock) as db:
        assert len(await names(db)) == 20


async def test_a_newer_schema_is_refused(tmp_path: Path, clock) -> None:
    path = str(tmp_path / "t.db")
    async with Database.open(path, clock):
        pass
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(FailedPrecondition) as caught:
        async with Database.open(path, clock):
            pass
    assert "newer" in caught.value.hint


async def test_no_database_at_all_is_data_loss(tmp_path: Path, clock) -> None:
    path = tmp_path / "t.db"
    path.write_bytes(b"this is no database " * 100)
    with pytest.raises(DataLoss) as caught:
        async with Database.open(str(path), clock):
            pass
    assert "backup" in caught.value.hint


async def test_damage_is_found_after_an_unclean_stop(tmp_path: Path, clock) -> None:
    path = str(tmp_path / "t.db")
    async with Database.open(path, clock) as db:
        assert os.path.exists(marker(path))
        for number in range(50):
            await db.write(lambda tx, n=number: tx.intents.begin("one", "create", "x" * 500, {"n": n}))
    assert not os.path.exists(marker(path))
    with open(path, "r+b") as file:
        file.seek(4096 * 22)
        file.write(b"\xa5" * 4096 * 4)
    Path(marker(path)).touch()
    with pytest.raises(DataLoss):
        async with Database.open(path, clock):
            pass


async def test_a_sound_database_is_opened_after_an_unclean_stop(tmp_path: Path, clock) -> None:
    path = str(tmp_path / "t.db")
    async with Database.open(path, clock) as db:
        await db.write(lambda tx: tx.namespaces.create("one"))
    Path(marker(path)).touch()
    async with Database.open(path, clock) as db:
        assert await names(db) == ["one"]


async def test_changes_are_counted_and_announced(db: Database) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(db.changed.wait)
        await trio.testing.wait_all_tasks_blocked()
        await db.write(lambda tx: tx.namespaces.create("one"))
    assert (db.mutations, db.deletions) == (1, 0)
    await db.write(lambda tx: tx.leases.create("one", "l"))
    await db.write(lambda tx: tx.leases.delete("one", "l"))
    assert (db.mutations, db.deletions) == (3, 1)
    await db.write(lambda tx: tx.events.publish("one", "/tasks/start", {}))
    assert db.mutations == 3


async def test_typed_errors_pass_through(db: Database) -> None:
    await db.write(lambda tx: tx.namespaces.create("one"))
    with pytest.raises(AlreadyExists):
        await db.write(lambda tx: tx.namespaces.create("one"))


def synchronous(tx: Transaction) -> int:
    """Return SQLite's number of the mode that the commit is to have."""
    row = tx.session.one("PRAGMA synchronous")
    assert row is not None
    return int(row[0])


async def test_only_what_is_durable_waits_for_the_disk(db: Database) -> None:
    assert await db.write(synchronous) == FULL
    assert await db.write(synchronous, durable=False) == NORMAL
    assert await db.write(synchronous) == FULL


async def test_one_durable_change_makes_its_whole_batch_so(db: Database) -> None:
    held, go = threading.Event(), threading.Event()
    levels: list[int] = []

    def hold(_tx: Transaction) -> None:
        held.set()
        assert go.wait(30)

    async def change(durable: bool) -> None:
        levels.append(await db.write(synchronous, durable=durable))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(db.write, hold)
        await trio.to_thread.run_sync(held.wait)
        for durable in (False, True, False):
            nursery.start_soon(change, durable)
        await trio.testing.wait_all_tasks_blocked()
        go.set()
    assert levels == [FULL] * 3


async def test_a_look_sees_every_write_that_has_returned(db: Database) -> None:
    for name in ("one", "two"):
        await db.write(lambda tx, name=name: tx.namespaces.create(name))
        found = await db.look(lambda tx, name=name: tx.namespaces.get(name))
        assert found.name == name
    assert db.statistics()["looks"] == 2
    assert db.statistics()["reads"] == 0


async def test_a_look_that_fails_leaves_nothing_behind(db: Database) -> None:
    def breaks(tx: Transaction) -> None:
        tx.namespaces.find("one")
        raise ValueError("broken")

    for _ in range(2):
        with pytest.raises(NotFound):
            await db.look(lambda tx: tx.namespaces.get("none"))
        with pytest.raises(ValueError, match="broken"):
            await db.look(breaks)
        with pytest.raises(FailedPrecondition, match="readonly"):
            await db.look(lambda tx: tx.namespaces.create("unwritten"))
    await db.write(lambda tx: tx.namespaces.create("one"))
    assert (await db.look(lambda tx: tx.namespaces.get("one"))).name == "one"


async def test_slow_looks_are_left_to_threads(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()

    def slow(_: Transaction) -> None:
        threads.add(threading.get_ident())

    await db.look(slow)
    assert threads == {threading.get_ident()}
    monkeypatch.setattr("tricorn.store.db._SLOW", -1.0)
    for _ in range(3):
        await db.look(slow)
    assert db.statistics()["slow_looks"] == 0, "what waits for no disk is as slow in a thread"
    blocks = itertools.count()
    monkeypatch.setattr("tricorn.store.db._blocks_read", lambda: next(blocks))
    for _ in range(3):
        await db.look(slow)
    assert threads == {threading.get_ident()}
    await db.look(slow)
    assert len(threads) == 2
    assert db.statistics()["slow_looks"] == 3


def writer(_: Transaction) -> int:
    return threading.get_ident()


async def test_changes_that_need_no_flush_are_made_on_the_loop(db: Database) -> None:
    loop = threading.get_ident()
    assert await db.write(writer, durable=False) == loop
    assert await db.write(writer) != loop
    await db.write(lambda tx: tx.namespaces.create("one", {}), durable=False)
    assert (await db.look(lambda tx: tx.namespaces.get("one"))).name == "one"
    assert db.mutations == 1
    with pytest.raises(AlreadyExists):
        await db.write(lambda tx: tx.namespaces.create("one", {}), durable=False)
    assert db.statistics()["failed_writes"] == 1


async def test_changes_are_left_to_the_thread_while_it_writes(db: Database) -> None:
    loop, begun, may_end = threading.get_ident(), threading.Event(), threading.Event()

    def long(_: Transaction) -> None:
        begun.set()
        may_end.wait(30)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(db.write, long)
        await trio.to_thread.run_sync(begun.wait, 30)
        written: list[int] = []

        async def change() -> None:
            written.append(await db.write(writer, durable=False))

        nursery.start_soon(change)
        await trio.testing.wait_all_tasks_blocked()
        assert written == []
        may_end.set()
    assert written != [loop]
    assert await db.write(writer, durable=False) == loop


async def test_slow_changes_are_left_to_the_thread(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tricorn.store.db._SLOW", -1.0)
    sleeps = itertools.count()
    monkeypatch.setattr("tricorn.store.db._sleeps", lambda: next(sleeps))
    written = [await db.write(writer, durable=False) for _ in range(4)]
    assert [thread == threading.get_ident() for thread in written] == [True, True, True, False]


async def test_the_log_is_moved_by_the_thread(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tricorn.store.writer._CHECKPOINT_COMMITS", 3)
    written = [await db.write(writer, durable=False) for _ in range(6)]
    assert threading.get_ident() in written
    assert set(written) != {threading.get_ident()}


async def test_a_locked_database_is_waited_for_in_a_thread(db: Database) -> None:
    def locked(tx: Transaction) -> int:
        if threading.current_thread() is threading.main_thread():
            raise Unavailable("the database is locked")
        return 7

    assert await db.look(locked) == 7
