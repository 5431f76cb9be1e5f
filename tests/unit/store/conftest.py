"""A clock to turn by hand, a transaction in memory, a database on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tricorn.store.connection import connect, migrate
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction


class HandClock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


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
