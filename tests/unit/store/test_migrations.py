"""Databases of earlier agents keep what they hold."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tricorn.store.connection import connect, migrate
from tricorn.store.db import Database
from tricorn.store.schema import MIGRATIONS

_FIRST_CONTAINER = "INSERT INTO containers VALUES ('n', 'web', 'a', '', 'crun', '', '', x'7b7d', x'7b7d', x'7b7d', x'7b7d', 1, 2)"


async def test_containers_of_the_first_schema_are_read(tmp_path: Path, clock) -> None:
    path = str(tmp_path / "t.db")
    connection: sqlite3.Connection = connect(path)
    migrate(connection, path, MIGRATIONS[:1])
    connection.execute("INSERT INTO namespaces VALUES ('n', x'7b7d', 1)")
    connection.execute(_FIRST_CONTAINER)
    connection.close()
    async with Database.open(path, clock) as db:
        found = await db.read(lambda tx: tx.containers.get("n", "web"))
        assert (found.runtime, found.spec, found.extensions) == ("crun", b"{}", {})
        assert (found.runtime_name, found.runtime_options, found.spec_type, found.sandbox) == (
            "",
            None,
            "",
            "",
        )
        changed = await db.write(lambda tx: tx.containers.update("n", "web", sandbox="pod"))
        assert await db.read(lambda tx: tx.containers.get("n", "web")) == changed
