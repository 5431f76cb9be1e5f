"""What the tables of one transaction share: connection, time, and the account of what was changed."""

from __future__ import annotations

import sqlite3
from typing import Any

from attrs import Factory, define


@define
class Session:
    """`now` is one time for the whole transaction, in microseconds. `deletions` counts changes that may
    have made something collectable, `published` is the last event's sequence.
    """

    connection: sqlite3.Connection
    now: int
    published: int = 0
    deletions: int = 0
    mutations: int = 0
    namespaces: set[str] = Factory(set)  # known to exist

    def one(self, statement: str, *values: Any) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self.connection.execute(statement, values).fetchone()
        return row

    def all(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, values).fetchall()

    def run(self, statement: str, *values: Any) -> int:
        """Execute a change; return how many rows it touched."""
        self.mutations += 1
        return self.connection.execute(statement, values).rowcount

    def run_aside(self, statement: str, *values: Any) -> int:
        """As `run`, for records that play no part in garbage collection."""
        return self.connection.execute(statement, values).rowcount

    def insert_aside(self, statement: str, *values: Any) -> int:
        """Insert a row into such a table with a number of its own; return that number."""
        return self.connection.execute(statement, values).lastrowid or 0
