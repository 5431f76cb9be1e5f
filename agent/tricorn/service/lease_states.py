"""Leases as desired states: there, with these labels, holding these things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.model import ids
from tricorn.model.ids import Digest
from tricorn.model.records import Lease, LeaseResource
from tricorn.model.requests import Action, Change, LeaseDesired
from tricorn.ports import Clock
from tricorn.rules.gc_labels import expiry_after
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

_EXPIRE = "containerd.io/gc.expire"


class LeaseStates:
    """The desired-state side of leases; `LeaseService` has the verbs."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def put(self, namespace: str, lease: str, desired: LeaseDesired, *, plan: bool = False) -> Change:
        """Make sure that a lease exists, has these labels (others it has stay) and holds these things.

        An expiry is set when the lease is made, and anew with `renew`. InvalidArgument for what can't be
        held, and for a lease that would end before it begins.
        """
        for each in desired.resources or ():
            if each.type == "content":
                Digest.parse(each.id, "resources")
        labels = ids.labels(desired.labels)
        expiry = self._expiry(desired)

        def put(tx: Transaction) -> Change:
            step = _Step(namespace, lease, desired, labels, expiry)
            change = step.change(tx)
            if change.changed and not plan:
                step.store(tx)
            return change

        return await (self._db.read(put) if plan else self._db.write(put))

    async def absent(self, namespace: str, lease: str, *, plan: bool = False) -> Change:
        """Make sure that there is no such lease; what only it kept goes with the next collection."""

        def end(tx: Transaction) -> Change:
            current = tx.leases.find(namespace, lease)
            if current is None:
                return Change(changed=False)
            before = _view(current, tx.leases.list_resources(namespace, lease))
            if not plan:
                tx.leases.delete(namespace, lease)
            return Change(changed=True, actions=(Action("remove", f"lease/{lease}"),), before=before)

        return await (self._db.read(end) if plan else self._db.write(end))

    def _expiry(self, desired: LeaseDesired) -> dict[str, str]:
        seconds = desired.expire_seconds
        if seconds is None:
            seconds = limits.LEASE_DEFAULT_SECONDS
        if seconds < 0:
            raise InvalidArgument("a lease can't end before it begins", field="expire_seconds")
        return {_EXPIRE: expiry_after(self._clock.now(), seconds)} if seconds else {}


@define
class _Step:
    """What leads from the lease as it is to the one that is wanted, in one transaction."""

    namespace: str
    lease: str
    desired: LeaseDesired
    labels: Mapping[str, str]
    expiry: Mapping[str, str]
    current: Lease | None = None
    held: Sequence[LeaseResource] = ()

    def change(self, tx: Transaction) -> Change:
        self.current = tx.leases.find(self.namespace, self.lease)
        self.held = tx.leases.list_resources(self.namespace, self.lease) if self.current else ()
        before = _view(self.current, self.held)
        after = _view(Lease(self.lease, self._wanted_labels()), self._wanted())
        if before == after:
            return Change(changed=False, before=before, after=before)
        verb, reason = ("update", "it differs") if self.current else ("create", "no such lease")
        return Change(
            changed=True, actions=(Action(verb, f"lease/{self.lease}", reason),), before=before, after=after
        )

    def store(self, tx: Transaction) -> None:
        if self.current is None:
            tx.leases.create(self.namespace, self.lease, self._wanted_labels())
        else:
            tx.leases.set_labels(self.namespace, self.lease, self._wanted_labels())
        wanted = self._wanted()
        for each in wanted:
            if each not in self.held:
                tx.leases.add_resource(self.namespace, self.lease, each)
        for each in self.held:
            if each not in wanted:
                tx.leases.remove_resource(self.namespace, self.lease, each)

    def _wanted_labels(self) -> dict[str, str]:
        if self.current is None:
            return {**self.expiry, **self.labels}
        kept = dict(self.current.labels)
        if self.desired.renew:
            kept.pop(_EXPIRE, None)
            kept.update(self.expiry)
        return {**kept, **self.labels}

    def _wanted(self) -> Sequence[LeaseResource]:
        if self.desired.resources is None:
            return self.held
        return sorted(set(self.desired.resources), key=lambda each: (each.type, each.id))


def _view(lease: Lease | None, resources: Sequence[LeaseResource]) -> dict[str, Any]:
    if lease is None:
        return {}
    held = [{"type": each.type, "id": each.id} for each in resources]
    return {"id": lease.id, "labels": dict(lease.labels), "resources": held}
