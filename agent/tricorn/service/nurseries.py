"""A nursery out of which a typed error comes as itself, not wrapped in a group."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from tricorn.errors import TricornError


@asynccontextmanager
async def typed_nursery() -> AsyncIterator[trio.Nursery]:
    """Open a nursery. When children fail and all failures are typed ones, the first is raised: the others
    were siblings of the same work, told to stop by it. Anything else leaves as the group it is.
    """
    try:
        async with trio.open_nursery() as nursery:
            yield nursery
    except BaseExceptionGroup as group:
        typed, others = group.split(TricornError)
        if typed is None or others is not None:
            raise
        raise first_error(typed) from None


def first_error(group: BaseExceptionGroup[TricornError]) -> TricornError:
    """Return the first error of a group that holds nothing else."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, TricornError)
    return error
