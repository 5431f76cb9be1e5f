"""Migrations run once, in order, each whole or not at all."""

from __future__ import annotations

import sqlite3

import pytest

from tricorn.errors import Internal, Unavailable
from tricorn.store.connection import connect, migrate, typed


def version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_only_what_is_missing_is_run() -> None:
    connection = connect(":memory:")
    first = ("CREATE TABLE a (x)",)
    migrate(connection, "t", [first])
    migrate(connection, "t", [first, ("CREATE TABLE b (x)", "INSERT INTO b VALUES (1)")])
    migrate(connection, "t", [first, ("this would fail",)])
    assert version(connection) == 2
    assert connection.execute("SELECT x FROM b").fetchall() == [(1,)]
    connection.close()


def test_a_failing_migration_leaves_the_version_before() -> None:
    connection = connect(":memory:")
    with pytest.raises(sqlite3.Error):
        migrate(connection, "t", [("CREATE TABLE a (x)",), ("CREATE TABLE b (x)", "nonsense")])
    assert version(connection) == 1
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'b'").fetchone() == (0,)
    connection.close()


def test_a_locked_database_is_unavailable(tmp_path) -> None:
    path = str(tmp_path / "t.db")
    one, two = connect(path), connect(path)
    two.execute("PRAGMA busy_timeout=1")
    one.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as caught:
        two.execute("BEGIN IMMEDIATE")
    assert isinstance(typed(caught.value, "x"), Unavailable)
    one.close()
    two.close()


def test_what_has_no_better_name_is_internal() -> None:
    assert isinstance(typed(sqlite3.OperationalError("no such table: x"), "x"), Internal)
