"""A lease for the length of one piece of the agent's own work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import trio

from tricorn import limits
from tricorn.errors import NotFound
from tricorn.rules.gc_labels import EXPIRE
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction


@asynccontextmanager
async def held_lease(
    db: Database, namespace: str, work: str, *, content: tuple[str, ...] = ()
) -> AsyncIterator[str]:
    """Give a lease that holds `content` (digests), and what is made under it, until the context is left.

    After a crash it expires. The transaction that names the work's result may delete it before.
    """
    lease = f"{work}-{uuid4().hex[:12]}"
    expire = db.clock.now() + timedelta(seconds=limits.LEASE_DEFAULT_SECONDS)

    def begin(tx: Transaction) -> None:
        tx.leases.create(namespace, lease, {EXPIRE: expire.isoformat()})
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
