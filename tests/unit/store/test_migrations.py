"""Databases of earlier agents keep what they hold."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from attrs import evolve

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


async def test_places_of_the_schema_without_ipv6_are_read(tmp_path: Path, clock) -> None:
    path = str(tmp_path / "t.db")
    connection: sqlite3.Connection = connect(path)
    migrate(connection, path, MIGRATIONS[:8])
    data = '{"namespace": "n", "container": "c1", "network": "front", "address": "10.40.0.2"}'
    connection.execute(
        "INSERT INTO attachments VALUES ('n', 'c1', 'front', '10.40.0.2', ?)", (data.encode(),)
    )
    connection.close()
    async with Database.open(path, clock) as db:
        place = await db.read(lambda tx: tx.attachments.find("n", "c1"))
        assert place.addresses == ("10.40.0.2",)
        made = await db.write(
            lambda tx: tx.attachments.create(
                evolve(place, container="c2"), lambda taken: (f"{len(taken)}", "fd40::2")
            )
        )
        assert made.addresses == ("1", "fd40::2")
