"""Use cases on the plain records: namespaces, content, leases, events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted
from tricorn.model import ids
from tricorn.model.filters import select
from tricorn.model.ids import Digest
from tricorn.model.records import Event, Lease, LeaseResource, Namespace
from tricorn.model.requests import Action, Change
from tricorn.ports import Clock
from tricorn.rules.budgets import check_labels
from tricorn.rules.gc_labels import EXPIRE, expiry_after
from tricorn.rules.plan import label_changes
from tricorn.service.defaults import NamespaceDefaults
from tricorn.store.codec import to_json
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

T = TypeVar("T")


class NamespaceService:
    """`defaults` are told of labels that change."""

    def __init__(self, db: Database, defaults: NamespaceDefaults | None = None) -> None:
        self._db = db
        self._defaults = defaults or NamespaceDefaults(db)

    async def list(self, filters: Sequence[str] = ()) -> list[Namespace]:
        find = self._db.read if filters else self._db.look  # there are few; what filters cost is the client's
        return await find(lambda tx: tx.namespaces.list(filters))

    async def get(self, name: str) -> Namespace:
        return await self._db.look(lambda tx: tx.namespaces.get(name))

    async def put(self, name: str, labels: Mapping[str, str], *, plan: bool = False) -> Change:
        """Make sure the namespace exists and has these labels; others it has are left alone."""
        ids.namespace(name)
        wanted = ids.labels(labels)
        check_labels(wanted)
        current = await self._db.look(lambda tx: tx.namespaces.find(name))
        missing = label_changes(current.labels if current else {}, wanted)
        before = {"name": name, "labels": dict(current.labels)} if current else {}
        after = {"name": name, "labels": {**(current.labels if current else {}), **wanted}}
        if current and not missing:
            return Change(changed=False, before=before, after=before)
        verb = "update" if current else "create"
        if not plan and current:
            await self._change(name, lambda tx: tx.namespaces.update(name, missing))
        elif not plan:
            await self._change(name, lambda tx: tx.namespaces.create(name, wanted))
        return Change(changed=True, actions=(Action(verb, f"namespace/{name}"),), before=before, after=after)

    async def create(self, name: str, labels: Mapping[str, str]) -> Namespace:
        """Make a namespace that isn't there yet; AlreadyExists."""
        check_labels(labels)
        return await self._change(name, lambda tx: tx.namespaces.create(name, labels))

    async def replace_labels(self, name: str, labels: Mapping[str, str]) -> Namespace:
        """Give the namespace these labels and no others; empty values are left out."""
        check_labels(labels)

        def replace(tx: Transaction) -> Namespace:
            gone = dict.fromkeys(tx.namespaces.get(name).labels, "")
            return tx.namespaces.update(name, {**gone, **ids.labels(labels)})

        return await self._change(name, replace)

    async def update(self, name: str, labels: Mapping[str, str]) -> Namespace:
        """Merge labels in; an empty value removes its key. InvalidArgument for a malformed budget."""
        check_labels(labels)
        return await self._change(name, lambda tx: tx.namespaces.update(name, ids.labels(labels)))

    async def delete(self, name: str, *, plan: bool = False) -> Change:
        """Remove an empty namespace; FailedPrecondition names what is left in it."""
        current = await self.get(name)
        change = Change(
            changed=True,
            actions=(Action("remove", f"namespace/{name}"),),
            before={"name": name, "labels": dict(current.labels)},
        )
        if not plan:
            await self._change(name, lambda tx: tx.namespaces.delete(name))
        return change

    async def _change(self, name: str, change: Callable[[Transaction], T]) -> T:
        try:
            return await self._db.write(change)
        finally:
            self._defaults.forget(name)


class LeaseService:
    """`collect` runs a collection, for those who want to see what a lease's end frees."""

    def __init__(
        self, db: Database, clock: Clock, collect: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        self._db = db
        self._clock = clock
        self._collect = collect

    async def list(self, namespace: str, filters: Sequence[str] = ()) -> list[Lease]:
        return await self._db.read(lambda tx: tx.leases.list(namespace, filters))

    async def create(
        self, namespace: str, lease: str | None, labels: Mapping[str, str], expire_seconds: float | None
    ) -> Lease:
        """Make a lease that lasts `expire_seconds` (0: until it is deleted; None: as its label
        `containerd.io/gc.expire` says, without one 24 hours).
        """
        seconds = expire_seconds
        if seconds is None:
            seconds = 0 if EXPIRE in labels else limits.LEASE_DEFAULT_SECONDS
        if seconds < 0:
            raise InvalidArgument("a lease can't end before it begins", field="expire_seconds")
        name = lease or uuid4().hex[:16]
        wanted = {**labels, **({EXPIRE: expiry_after(self._clock.now(), seconds)} if seconds else {})}
        return await self._db.write(lambda tx: tx.leases.create(namespace, name, wanted), durable=False)

    async def get(self, namespace: str, lease: str) -> Lease:
        """NotFound."""
        return await self._db.read(lambda tx: tx.leases.get(namespace, lease))

    async def delete(self, namespace: str, lease: str, *, sync: bool = False) -> None:
        """End a lease; what only it kept goes with the next collection, with `sync` before this returns."""
        await self._db.write(lambda tx: tx.leases.delete(namespace, lease), durable=False)
        if sync and self._collect is not None:
            await self._collect()

    async def resources(self, namespace: str, lease: str) -> Sequence[LeaseResource]:
        """Return what a lease holds; NotFound."""
        return await self._db.read(lambda tx: tx.leases.list_resources(namespace, lease))

    async def add_resource(self, namespace: str, lease: str, resource: LeaseResource) -> None:
        """Have a lease hold something, which need not be there yet; NotFound for the lease."""
        if resource.type == "content":
            Digest.parse(resource.id, "resource.id")
        await self._db.write(lambda tx: tx.leases.add_resource(namespace, lease, resource))

    async def remove_resource(self, namespace: str, lease: str, resource: LeaseResource) -> None:
        """Have a lease let go of something, whether or not it holds it; NotFound for the lease."""
        await self._db.write(lambda tx: tx.leases.remove_resource(namespace, lease, resource))


@frozen
class Lost:
    """Events that a subscriber asked for and that are no longer kept."""

    count: int


@frozen
class EventPage:
    """Events in commit order; `cursor` is what to ask from next, `lost` how many are gone for good."""

    items: tuple[Event, ...]
    cursor: int
    lost: int = 0


class EventService:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def publish(
        self, namespace: str, topic: str, event: Mapping[str, Any], timestamp: datetime | None = None
    ) -> None:
        """Put a client's event into the journal, under the time it happened (None: now).

        InvalidArgument for a malformed topic, ResourceExhausted for an event that is too large.
        """
        size = len(to_json(event))
        if size > limits.EVENT_SIZE:
            raise ResourceExhausted(
                "the event is too large", why=f"{size} bytes, at most {limits.EVENT_SIZE}", field="event"
            )
        await self._db.write(lambda tx: tx.events.publish(namespace, topic, event, timestamp))

    async def page(
        self,
        namespace: str | None,
        since: int | None,
        filters: Sequence[str] = (),
        limit: int = limits.EVENTS_PAGE,
    ) -> EventPage:
        """Return what happened after the cursor `since` (None: all that is kept), oldest first."""
        after = since or 0
        page = await self._db.read(
            lambda tx: tx.events.page(after, namespace, min(limit, limits.EVENTS_PAGE))
        )
        lost = max(0, page.oldest_kept - after - 1) if since is not None else 0
        cursor = page.events[-1].sequence if page.events else max(after, page.newest)
        return EventPage(tuple(select(filters, page.events)), cursor, lost)

    async def next_page(
        self, namespace: str | None, since: int | None, filters: Sequence[str], limit: int, seconds: float
    ) -> EventPage:
        """Return the first events after a cursor (None: now) that match, once there are any; after `seconds`
        whatever there is. Asking on with the page's cursor misses none.
        """
        cursor, lost = self._db.newest if since is None else since, 0
        with trio.move_on_after(seconds):
            while True:
                page = await self.page(namespace, cursor, filters, limit)
                cursor, lost = page.cursor, lost + page.lost
                if page.items or page.lost:
                    return EventPage(page.items, cursor, lost)
                if cursor >= self._db.newest:
                    await self._db.wait_beyond(cursor)
        page = await self.page(namespace, cursor, filters, limit)
        return EventPage(page.items, page.cursor, lost + page.lost)

    async def stream(
        self, namespace: str | None, since: int | None, filters: Sequence[str] = ()
    ) -> AsyncIterator[Event | Lost]:
        """Yield events as they are committed, from a cursor (None: only new ones), without end."""
        cursor = self._db.newest if since is None else since
        while True:
            page = await self.page(namespace, cursor, filters)
            if page.lost:
                yield Lost(page.lost)
            for event in page.items:
                yield event
            full = page.cursor < self._db.newest
            cursor = page.cursor
            if not full:
                await self._db.wait_beyond(cursor)
