"""A clock to turn by hand, a transaction in memory, a database on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tricorn.store.connection import connect, migrate
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction
from tricorn_testing.clock import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def tx(clock: HandClock) -> Iterator[Transaction]:
    connection = connect(":memory:")
    migrate(connection, ":memory:")
    connection.execute("BEGIN")
    yield Transaction(connection, clock.now())
    connection.close()


@pytest.fixture
async def db(tmp_path: Path, clock: HandClock) -> AsyncIterator[Database]:
    async with Database.open(str(tmp_path / "db" / "tricorn.db"), clock) as database:
        yield database
