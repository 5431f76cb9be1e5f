"""The agent's two directories: their modes (fixed at every start) and the lock of one agent a root."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tricorn.errors import Conflict, FailedPrecondition

_ROOT_MODE = 0o700
_STATE_MODE = 0o711  # containers' own users must reach what is theirs, and list nothing


def prepare_directories(root: str, state: str) -> None:
    """Make root and state directories, and mend the modes of existing ones (CVE-2021-41103)."""
    for path, mode in (
        (root, _ROOT_MODE),
        (os.path.join(root, "db"), _ROOT_MODE),
        (os.path.join(root, "snapshots"), _ROOT_MODE),
        (os.path.join(root, "containers"), _ROOT_MODE),
        (state, _STATE_MODE),
        (os.path.join(state, "bundles"), _STATE_MODE),
    ):
        try:
            os.makedirs(path, exist_ok=True)
            os.chmod(path, mode)
        except OSError as error:
            raise FailedPrecondition(f"cannot prepare {path}", why=os.strerror(error.errno or 0)) from None


def holder(root: str) -> int | None:
    """Return the pid of the agent that holds the root directory, None if none does."""
    try:
        descriptor = os.open(os.path.join(root, "lock"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 32).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return None


@contextmanager
def root_lock(root: str) -> Iterator[None]:
    """Hold the root directory's lock; Conflict names the agent that has it."""
    path = os.path.join(root, "lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            raise Conflict(
                f"another agent uses {root}",
                why=f"its pid is {holder}" if holder else "",
                hint="stop it, or give this one another --root",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
