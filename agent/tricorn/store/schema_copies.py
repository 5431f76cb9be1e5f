"""What makes a downgrade possible: whether this agent can read a database, and the copy that is kept of one
before its schema changes.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import Final

from attrs import frozen

from tricorn.errors import FailedPrecondition, NotFound
from tricorn.store.connection import connect, schema_version, sqlite_errors
from tricorn.store.schema import MIGRATIONS

_REPLACED: Final = "replaced"


@frozen
class Fit:
    """The schema of a database (0: there is none yet) beside the newest one that this agent knows."""

    found: int
    known: int

    @property
    def readable(self) -> bool:
        return self.found <= self.known


def fit_of(path: str) -> Fit:
    """Tell whether this agent can read the database `path`, which another one may have open.

    Changes nothing. DataLoss if it is damaged, Unavailable if it is held.
    """
    if not os.path.exists(path):
        return Fit(0, len(MIGRATIONS))
    with sqlite_errors(f"database {path} cannot be read"):
        connection = connect(path, read_only=True)
        try:
            return Fit(schema_version(connection), len(MIGRATIONS))
        finally:
            connection.close()


def check_fit(path: str) -> Fit:
    """As `fit_of`; FailedPrecondition, saying how to go on, if this agent can't read it."""
    fit = fit_of(path)
    if not fit.readable:
        kept = _newest_copy(path, fit.known)
        raise FailedPrecondition(
            f"database {path} has schema version {fit.found}",
            why=f"this agent knows versions up to {fit.known}",
            hint="run the agent that made it, or a newer one"
            + (f"; {_copy(path, kept)} was kept before the change" if kept else ""),
        )
    return fit


def keep_copy(connection: sqlite3.Connection, path: str) -> None:
    """Keep the database as it is beside itself, in place of any earlier copy. It is on disk at the return.

    The caller holds the only connection that writes, outside of a transaction.
    """
    kept = _copy(path, schema_version(connection))
    unfinished = f"{kept}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(unfinished)
    connection.execute("VACUUM INTO ?", (unfinished,))
    os.chmod(unfinished, 0o600)
    _flush(unfinished)
    os.replace(unfinished, kept)
    for version in _copies(path):
        if _copy(path, version) != kept:
            os.unlink(_copy(path, version))
    _flush(os.path.dirname(path))


def restore_copy(path: str) -> Fit:
    """Put the copy back that was kept before a newer agent changed the schema; the database that it replaces
    stays beside it. Does nothing if this agent can read the database as it is.

    What was recorded since the copy was made is forgotten: this is for an upgrade that failed at once. The
    caller holds the lock on the root directory. NotFound if there is no copy that this agent can read.
    """
    fit = fit_of(path)
    if fit.readable:
        return fit
    version = _newest_copy(path, fit.known)
    if not version:
        raise NotFound(
            f"there is no copy of database {path} that this agent can read",
            why=f"it has schema version {fit.found}, this agent knows versions up to {fit.known}",
            hint="run the agent that made it, or a newer one",
        )
    with sqlite_errors(f"database {path} cannot be replaced"):
        connection = connect(path)
        connection.execute("PRAGMA journal_mode=DELETE").fetchall()  # leaves no log beside it
        connection.close()
    os.replace(path, f"{path}.{_REPLACED}")
    os.replace(_copy(path, version), path)
    _flush(os.path.dirname(path))
    return fit_of(path)


def _copy(path: str, version: int) -> str:
    return f"{path}.schema-{version:d}"


def _copies(path: str) -> list[int]:
    prefix = f"{os.path.basename(path)}.schema-"
    names = (name for name in os.listdir(os.path.dirname(path) or ".") if name.startswith(prefix))
    return sorted(int(end) for name in names if (end := name.removeprefix(prefix)).isdecimal())


def _newest_copy(path: str, known: int) -> int:
    """Return the schema version of the newest copy that this agent can read, 0 for none."""
    return max((version for version in _copies(path) if version <= known), default=0)


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
