"""What happens where the database is gone and the files that it knew are still there.

An agent with a new database would find no record of them, and remove them all. So it doesn't start, until
somebody has put the database back or said that all shall be forgotten.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from tricorn.errors import FailedPrecondition
from tricorn.store.connection import database_path, prepare, unmark


def refuse_if_lost(root: str) -> None:
    """Raise FailedPrecondition if `root` has blobs, snapshots or containers, and its database is missing or
    empty.
    """
    path = database_path(root)
    if _has_content(path) or not (found := ", ".join(_found(root))):
        return
    raise FailedPrecondition(
        f"database {path} is {'empty' if os.path.exists(path) else 'missing'}",
        why=f"{root} has {found}, and a new database would know nothing of them: they would be removed",
        hint=f"put it back from a backup, or say `tricornd --root {root} state forget` to begin anew",
    )


def forget(root: str) -> bool:
    """Make a new database where it is missing or empty; False if there is one. What is on disk goes with the
    next start of an agent. The caller holds the lock on the root directory.
    """
    path = database_path(root)
    if _has_content(path):
        return False
    for end in ("-wal", "-shm"):  # of the one that was lost
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + end)
    prepare(path).close()
    unmark(path)
    return True


def _has_content(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except FileNotFoundError:
        return False


def _found(root: str) -> Iterator[str]:
    blobs = os.path.join(root, "content", "blobs")
    if any(_entries(os.path.join(blobs, algorithm)) for algorithm in _entries(blobs)):
        yield "blobs"
    snapshots = os.path.join(root, "snapshots")
    if any(_holds_a_tree(os.path.join(snapshots, snapshotter)) for snapshotter in _entries(snapshots)):
        yield "snapshots"
    if _entries(os.path.join(root, "containers")):
        yield "containers"


def _holds_a_tree(snapshotter: str) -> bool:
    return any(_entries(os.path.join(snapshotter, place)) for place in _entries(snapshotter))


def _entries(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
