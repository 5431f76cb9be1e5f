"""Opening SQLite as the store needs it, and turning its errors into the agent's."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from tricorn.errors import (
    DataLoss,
    FailedPrecondition,
    Internal,
    ResourceExhausted,
    TricornError,
    Unavailable,
)
from tricorn.store.schema import MIGRATIONS

_WAL_PAGES: Final = 4000  # the writer checkpoints earlier by itself, off the callers' path
_BUSY_MILLISECONDS: Final = 10_000
_STATEMENTS: Final = 256
_READER_CACHE_KIB: Final = 512  # the kernel caches the file once for all readers
_DAMAGED_HINT: Final = (
    "stop the agent, move the db directory away and restore it from a backup before it starts again; "
    "containers go on running meanwhile"
)


def database_path(root: str) -> str:
    """Return where the database is below the agent's root directory."""
    return os.path.join(root, "db", "tricorn.db")


@contextlib.contextmanager
def sqlite_errors(what: str) -> Iterator[None]:
    """Raise what SQLite reports inside the block as a typed error that is about `what`."""
    try:
        yield
    except sqlite3.Error as error:
        raise typed(error, what) from error


def typed(error: sqlite3.Error, what: str) -> TricornError:
    """Return the typed error that `error` stands for."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    why = str(error)
    if code == sqlite3.SQLITE_FULL:
        return ResourceExhausted(what, why=why, hint="free space on the file system of the root directory")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return DataLoss(what, why=why, hint=_DAMAGED_HINT)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return Unavailable(what, why=why, hint="another process holds the database; is a second agent up?")
    if code == sqlite3.SQLITE_READONLY:
        return FailedPrecondition(what, why=why)
    return Internal(what, why=why)


def connect(path: str, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a connection that any one thread at a time may use. Statements commit by themselves."""
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS
    )
    try:
        connection.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
        connection.execute("PRAGMA foreign_keys=ON")
        if read_only:
            connection.execute("PRAGMA query_only=ON")
            connection.execute(f"PRAGMA cache_size=-{_READER_CACHE_KIB}")
        else:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(path: str) -> sqlite3.Connection:
    """Open the database `path` for writing: created if missing, checked if the last run ended uncleanly,
    migrated if old, once a copy is kept. DataLoss if damaged, FailedPrecondition if a newer agent made it.
    """
    _create_private(path)
    with sqlite_errors(f"database {path} cannot be opened"):
        connection = connect(path)
    try:
        with sqlite_errors(f"database {path} cannot be opened"):
            if os.path.exists(marker(path)):
                _check_integrity(connection, path)
            if 0 < schema_version(connection) < len(MIGRATIONS):
                from tricorn.store.schema_copies import keep_copy  # rarely needed, and it imports this module

                keep_copy(connection, path)
            migrate(connection, path)
        _mark(path)
    except BaseException:
        connection.close()
        raise
    return connection


def marker(path: str) -> str:
    """The file that exists while an agent has the database open, and after it died so."""
    return f"{path}.running"


def unmark(path: str) -> None:
    """Note that the database was closed in order."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(marker(path))


def schema_version(connection: sqlite3.Connection) -> int:
    """Return which schema a database has, 0 for none."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(
    connection: sqlite3.Connection, path: str, migrations: Sequence[Sequence[str]] = MIGRATIONS
) -> None:
    """Bring the schema to the newest version, each step in one transaction."""
    version = schema_version(connection)
    if version > len(migrations):
        raise FailedPrecondition(
            f"database {path} has schema version {version}",
            why=f"this agent knows versions up to {len(migrations)}",
            hint="run the agent that made it, or a newer one",
        )
    for number in range(version, len(migrations)):
        _run_migration(connection, number + 1, migrations[number])


def _run_migration(connection: sqlite3.Connection, version: int, statements: Sequence[str]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={version:d}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _check_integrity(connection: sqlite3.Connection, path: str) -> None:
    problems = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
    if problems != ["ok"]:
        raise DataLoss(f"database {path} is damaged", why="; ".join(problems)[:2000], hint=_DAMAGED_HINT)


def _create_private(path: str) -> None:
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    os.chmod(path, 0o600)  # an older installation may have had it wider


def _mark(path: str) -> None:
    os.close(os.open(marker(path), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
