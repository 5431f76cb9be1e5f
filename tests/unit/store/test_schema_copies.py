"""Downgrades: what this agent can't read is told, and what it could read is kept before it changes."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from tricorn.agent_command import cli
from tricorn.errors import FailedPrecondition, NotFound
from tricorn.store.connection import connect, database_path, migrate, prepare
from tricorn.store.db import Database
from tricorn.store.schema import MIGRATIONS
from tricorn.store.schema_copies import Fit, check_fit, fit_of, restore_copy

NOW = len(MIGRATIONS)


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "db").mkdir()
    return database_path(str(tmp_path))


def make(path: str, version: int, namespace: str = "n") -> None:
    with closing(connect(path)) as connection:
        migrate(connection, path, MIGRATIONS[:version])
        connection.execute("INSERT INTO namespaces VALUES (?, x'7b7d', 1)", (namespace,))


def become_newer(path: str, version: int = NOW + 1) -> None:
    """Do to the database what a newer agent's migration does."""
    with closing(connect(path)) as connection:
        connection.execute("CREATE TABLE news (x INTEGER)")
        connection.execute("DELETE FROM namespaces")
        connection.execute(f"PRAGMA user_version={version}")


def namespaces(path: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM namespaces")]


async def test_a_copy_is_kept_before_the_schema_changes(path: str, clock) -> None:
    make(path, 2)
    assert fit_of(path) == Fit(2, NOW)
    async with Database.open(path, clock):
        assert fit_of(path) == Fit(NOW, NOW)  # the agent that has it open is no hindrance
    kept = f"{path}.schema-2"
    assert namespaces(kept) == ["n"]
    assert os.stat(kept).st_mode & 0o777 == 0o600
    async with Database.open(path, clock):
        pass
    assert sorted(os.listdir(os.path.dirname(path))) == ["tricorn.db", "tricorn.db.schema-2"]


def test_one_copy_is_kept(path: str) -> None:
    make(path, 1)
    prepare(path).close()
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA user_version=2")  # as if there had been a release between
        for table in ("sandboxes", "verifications", "blob_checks", "quarantine", "quarantined",
                      "sandbox_instances", "networks", "attachments", "published", "migrations"):  # fmt: skip
            connection.execute(f"DROP TABLE {table}")
    prepare(path).close()
    assert sorted(name for name in os.listdir(os.path.dirname(path)) if "schema" in name) == [
        "tricorn.db.schema-2"
    ]


def test_what_cannot_be_copied_is_not_changed(path: str) -> None:
    make(path, 2)
    os.mkdir(f"{path}.schema-2")  # nothing can take its place
    with pytest.raises(OSError, match="schema-2"):
        prepare(path)
    assert fit_of(path).found == 2


def test_an_upgrade_that_failed_is_undone(path: str) -> None:
    make(path, NOW)
    with closing(connect(path)) as connection:
        from tricorn.store.schema_copies import keep_copy

        keep_copy(connection, path)
    become_newer(path)
    with pytest.raises(FailedPrecondition, match=f"schema version {NOW + 1}") as caught:
        check_fit(path)
    assert f"schema-{NOW}" in caught.value.hint
    assert restore_copy(path) == Fit(NOW, NOW)
    assert restore_copy(path) == Fit(NOW, NOW)  # the second time there is nothing to do
    assert namespaces(path) == ["n"]
    assert namespaces(f"{path}.replaced") == []
    assert sorted(os.listdir(os.path.dirname(path))) == ["tricorn.db", "tricorn.db.replaced"]


def test_without_a_copy_nothing_is_touched(path: str) -> None:
    make(path, NOW)
    become_newer(path)
    with pytest.raises(NotFound, match="no copy"):
        restore_copy(path)
    assert fit_of(path) == Fit(NOW + 1, NOW)


def test_the_commands_tell_what_is_there(path: str, tmp_path: Path) -> None:
    def state(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["--root", str(tmp_path), "state", *words])
        return done.exit_code, done.output + str(done.exception or "")

    assert state("check") == (0, "there is no database yet\n")
    make(path, 2)
    code, output = state("check")
    assert (code, f"changes it to {NOW}" in output) == (0, True)
    prepare(path).close()
    assert state("check")[1] == f"the database has schema version {NOW}, which is this release's own\n"
    assert state("restore") == (0, "this release can read the database as it is\n")
    become_newer(path)
    code, output = state("check")
    assert (code, "versions up to" in output) == (1, True)
    code, output = state("restore")
    assert (code, "the database of schema version 2 is back" in output) == (0, True)
