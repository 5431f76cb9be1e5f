"""Failures by which the machine says that it has no more of something."""

from __future__ import annotations

from tricorn.errors import TricornError
from tricorn.fs.failures import EXHAUSTED, typed


def exhausted(error: BaseException) -> TricornError | None:
    """Return the typed error for one that tells of no room on a disk, no more open files or no memory: it may
    meet any piece of work, and none of them made a mistake. None for all others.
    """
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        return typed(error, "the agent can't do it now")
    return None
