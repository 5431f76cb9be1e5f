"""Leases for the length of one piece of the agent's own work, and what becomes of them after a crash."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

import trio

from tricorn import limits
from tricorn.errors import NotFound
from tricorn.rules.gc_labels import EXPIRE, parse_time
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

_WORK: Final = "tricorn.work"  # what a lease was made for
# None of these is gone on with but by being asked for again; what others hold, a recovery may need.
_ENDS_WITH_THE_AGENT: Final = frozenset(
    {"pull", "convert", "commit", "diff", "referrers", "checkpoint-import"}
)


def work_labels(work: str, now: datetime) -> Mapping[str, str]:
    """Return the labels of a lease for `work`: should nobody end it, it expires."""
    expire = now + timedelta(seconds=limits.LEASE_DEFAULT_SECONDS)
    return {EXPIRE: expire.isoformat(), _WORK: work}


async def shorten_left(db: Database) -> int:
    """Before any work begins: let leases of work that ended with the agent expire as soon as those of pulls
    that broke off; return how many there were. What is asked for again until then finds what came.
    """
    until = db.clock.now() + timedelta(seconds=limits.PULL_KEPT_SECONDS)

    left = [
        (namespace, lease)
        for namespace, lease in await db.read(lambda tx: tx.leases.list_all())
        if lease.labels.get(_WORK) in _ENDS_WITH_THE_AGENT
        and (parse_time(lease.labels.get(EXPIRE, "")) or until) > until
    ]

    def shorten(tx: Transaction) -> None:
        for namespace, lease in left:
            tx.leases.set_labels(namespace, lease.id, {**lease.labels, EXPIRE: until.isoformat()})

    if left:
        await db.write(shorten)
    return len(left)


@asynccontextmanager
async def held_lease(
    db: Database, namespace: str, work: str, *, content: tuple[str, ...] = ()
) -> AsyncIterator[str]:
    """Give a lease that holds `content` (digests), and what is made under it, until the context is left.

    After a crash it expires (see `shorten_left`). The transaction that names the work's result may delete it
    before.
    """
    lease = f"{work}-{uuid4().hex[:12]}"
    labels = work_labels(work, db.clock.now())

    def begin(tx: Transaction) -> None:
        tx.leases.create(namespace, lease, labels)
        for digest in content:
            tx.leases.protect(namespace, lease, "content", digest)

    def end(tx: Transaction) -> None:
        try:
            tx.leases.delete(namespace, lease)
        except NotFound:
            return

    await db.write(begin)
    try:
        yield lease
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
            await db.write(end)
