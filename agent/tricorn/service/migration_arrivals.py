"""The target's side of migrations: what other nodes bring is taken in, checked, and let go on.

From the first word on, one operation of this node makes the container: its name is taken, its image unpacked,
its files laid out before the source freezes anything. It waits for the dump there. Whatever ends it before
the source has told it to start is on record as a refusal for ever, and so is whatever fails afterwards, once
nothing is left of the attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog
import trio
from attrs import evolve

from tricorn import limits
from tricorn.errors import FailedPrecondition, NotFound, ResourceExhausted, TricornError
from tricorn.failpoints import failpoint
from tricorn.model import ids
from tricorn.model.ids import Digest
from tricorn.model.migrations import Answer, Migration, Offer, Pull, Seed, Start, Welcome
from tricorn.model.records import Container
from tricorn.rules.migration import Recovery, after_crash, is_over, may_refuse
from tricorn.rules.migration_grant import MigrationRule, check_offer
from tricorn.rules.peers import Identity
from tricorn.service.held_lease import held_lease
from tricorn.service.migration_arrival import Arrival
from tricorn.service.migration_landing import Landing
from tricorn.service.migration_offers import Offers
from tricorn.service.migration_parts import MigrationParts
from tricorn.service.migration_receipts import Receive, take_blob, take_dump, take_round
from tricorn.service.progress import Reporter
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
_LIMITER: Final = trio.CapacityLimiter(2)


class Arrivals:
    """`rules` say what is taken from whom."""

    def __init__(self, parts: MigrationParts, rules: Sequence[MigrationRule]) -> None:
        self._parts = parts
        self._rules = rules
        self._offers = Offers(parts)
        self._open: dict[str, Arrival] = {}

    # ------------------------------------------------------------ what the source says
    async def offer(self, peer: Identity, offer: Offer) -> Welcome:
        """Take a container on, and say which blobs of its image are missing.

        PermissionDenied for what the configuration doesn't grant the peer; FailedPrecondition when the dump
        couldn't go on here; AlreadyExists for a name that is taken; ResourceExhausted.
        """
        check_offer(self._rules, peer, offer)
        ids.identifier(offer.id, "id")
        ids.identifier(offer.name, "name")
        ids.labels(offer.container.labels)
        if len(self._open) >= limits.MIGRATION_ARRIVALS or len(offer.blobs) > limits.MIGRATION_BLOBS:
            raise ResourceExhausted("too many containers are on their way here already")
        coming = await self._offers.preflight(offer)
        migration = Migration(
            offer.id, "in", offer.namespace, offer.name, offer.name, peer.label, "", "accepted"
        )
        await self._parts.db.write(lambda tx: tx.migrations.create(migration))
        failpoint("arrival.accepted")
        arrival = Arrival(offer, peer.label, self._parts.place(offer.id), coming)
        self._open[offer.id] = arrival
        work = partial(self._work, arrival)
        arrival.operation = self._parts.operations.run(offer.namespace, "arrival", offer.name, work)
        await self._or_end(arrival, arrival.opened)
        missing = await self._offers.missing(offer, arrival.lease)
        return Welcome(tuple(missing), coming.keeps)

    async def blob(self, peer: Identity, id: str, digest: str, receive: Receive) -> None:
        """Take a blob of the image, or a layer of changed files. DataLoss if it isn't what its name says."""
        await take_blob(self._parts.content, self._arrival(peer, id), Digest.parse(digest), receive)

    async def seed(self, peer: Identity, id: str, seed: Seed) -> Answer:
        """Lay image and files out; the answer is `seeded` once that is done, and may be asked for again."""
        arrival = self._open.get(id)
        if arrival is not None and arrival.peer == peer.label:
            arrival.touch()
            arrival.rw = seed.rw
            arrival.seeded.set()
            with trio.move_on_after(limits.MIGRATION_WAIT):
                await arrival.prepared.wait()
            arrival.touch()
        return await self.state(peer, id)

    async def round(self, peer: Identity, id: str, number: int, receive: Receive) -> None:
        """Take the next round of memory. FailedPrecondition once one failed."""
        await take_round(self._arrival(peer, id), number, receive)

    async def dump(self, peer: Identity, id: str, receive: Receive) -> None:
        """Take the dump."""
        await take_dump(self._arrival(peer, id), receive)

    async def pull(self, peer: Identity, id: str, wanted: Pull) -> Answer:
        """Bring the dump from the registry; `dumped` tells when it is here, and this may be asked again."""
        arrival = self._open.get(id)
        if arrival is not None and arrival.peer == peer.label:
            arrival.touch()
            arrival.image = arrival.image or wanted.image
            arrival.pushed.set()
            with trio.move_on_after(limits.MIGRATION_WAIT):
                await arrival.pulled.wait()
            arrival.touch()
        found = await self.state(peer, id)
        return evolve(found, dumped=arrival is not None and arrival.dumped)

    async def start(self, peer: Identity, id: str, start: Start) -> Answer:
        """Let the container go on. The source keeps its copy still until it hears the end; asked again, it
        hears how far it is.
        """
        arrival = self._open.get(id)
        if arrival is None or arrival.peer != peer.label:
            return await self.refuse(peer, id, "nothing of it is here")
        if not arrival.started.is_set():
            if not (arrival.dumped and arrival.prepared.is_set()):
                raise FailedPrecondition("not all has come that a start needs")
            if start.rounds and (start.rounds != len(arrival.rounds) or arrival.spoilt):
                why = f"{len(arrival.rounds)} have come, and it stands on {start.rounds}"
                raise FailedPrecondition("not all rounds of memory have come", why=why)
            with trio.CancelScope(
                shield=True
            ):  # what is on record is done, whether the source stays or leaves
                arrival.scope.deadline = float("inf")
                await self._parts.db.write(lambda tx: tx.migrations.advance("in", id, "restoring"))
                failpoint("arrival.restoring")
                arrival.start = start
                arrival.started.set()
        return await self.state(peer, id, wait=limits.MIGRATION_WAIT)

    async def state(self, peer: Identity, id: str, *, wait: float = 0.0) -> Answer:
        """Say where it stands, after `wait` seconds at most while it is being started."""
        arrival = self._open.get(id)
        if arrival is not None and arrival.peer == peer.label:
            arrival.touch()
        if arrival is not None and wait:
            with trio.move_on_after(wait):
                await arrival.settled.wait()
        found = await self._parts.db.read(lambda tx: tx.migrations.find("in", id))
        if found is None or found.node != peer.label:
            raise NotFound(f"migration {id} is unknown")
        failpoint("arrival.answered")
        return Answer(found.state, found.reason)

    async def refuse(self, peer: Identity, id: str, why: str) -> Answer:
        """Promise that it is never started here, if it hasn't been: a record that nothing leads out of."""
        ids.identifier(id, "id")

        def promise(tx: Transaction) -> Migration:
            found = tx.migrations.find("in", id)
            if found is None:
                made = Migration(id, "in", "", "", "", peer.label, "", "accepted")
                tx.migrations.create(made)
            elif found.node != peer.label:
                raise NotFound(f"migration {id} is unknown")
            elif not may_refuse(found.state):
                return found
            return tx.migrations.advance("in", id, "refused", reason=why[:500])

        found = await self._parts.db.write(promise)
        if found.state == "refused" and (arrival := self._open.get(id)) is not None:
            arrival.scope.cancel()
        return Answer(found.state, found.reason)

    async def done(self, peer: Identity, id: str) -> Answer:
        """The source has deleted its copy."""

        def note(tx: Transaction) -> Migration:
            found = tx.migrations.get("in", id)
            if found.node != peer.label:
                raise NotFound(f"migration {id} is unknown")
            return tx.migrations.advance("in", id, "done") if found.state == "running" else found

        found = await self._parts.db.write(note)
        return Answer(found.state, found.reason)

    # ------------------------------------------------------------ the work
    async def _work(self, arrival: Arrival, report: Reporter) -> str:
        """Make the container as the source's words come in; see the module's head."""
        offer = arrival.offer
        problem = "it was cancelled on the target"
        arrival.touch()
        try:
            with arrival.scope:
                async with held_lease(self._parts.db, offer.namespace, "migration") as lease:
                    arrival.lease = lease
                    await self._note(offer.id, lease)
                    arrival.opened.set()
                    await Landing(self._parts, self._offers, arrival, report).make()
                return offer.id
            if trio.current_time() >= arrival.scope.deadline:
                problem = f"nothing was heard of the source for {limits.MIGRATION_IDLE:g} s"
            raise FailedPrecondition(f"the migration of {offer.name} hasn't come to its end", why=problem)
        except TricornError as error:
            problem = str(error)
            raise
        finally:
            with trio.CancelScope(shield=True):
                await self._end(arrival, problem)

    async def _note(self, id: str, lease: str) -> None:
        await self._parts.db.write(lambda tx: tx.migrations.note("in", id, lease=lease))

    async def _end(self, arrival: Arrival, problem: str) -> None:
        """Put the refusal on record, unless it runs; nothing of the attempt is left then."""
        offer = arrival.offer
        self._open.pop(offer.id, None)
        for event in (arrival.opened, arrival.prepared, arrival.pulled):
            event.set()
        await self._parts.clear(offer.id)
        try:
            await self._refuse_when_clear(offer.id, offer.namespace, offer.name, problem)
        except TricornError as error:
            log.error("what came of a migration can't be told yet", id=offer.id, error=error.one_line())
        arrival.settled.set()

    async def _refuse_when_clear(self, id: str, namespace: str, name: str, problem: str) -> bool:
        """Return whether it is over: it runs, or was refused, which takes that nothing of it runs."""
        found = await self._parts.db.read(lambda tx: tx.migrations.find("in", id))
        if found is None or is_over("in", found.state):
            return True
        if found.state == "restoring" and not await self._nothing_left(namespace, name):
            return False
        await self._parts.db.write(
            lambda tx: tx.migrations.advance("in", id, "refused", reason=problem[:500])
        )
        return True

    async def _nothing_left(self, namespace: str, name: str) -> bool:
        """Return whether no process of the container is there, after removing what a failure left."""

        def intents(tx: Transaction) -> bool:
            return any((i.namespace, i.object) == (namespace, name) for i in tx.intents.list_all())

        if await self._parts.db.read(intents):
            return False  # a clean-up of the last start failed: the next one tries again
        runtime = await self._parts.specs.runtime_name("")
        ref = self._parts.lifecycle.bundles.ref(
            namespace, Container(name, runtime=runtime, desired={"image": ""})
        )
        known = await self._parts.db.read(lambda tx: tx.containers.find(namespace, name))
        if known is not None:  # another one, made since: the failed attempt had to be gone for that
            return True
        return not await self._parts.runtime.pids(ref)

    # ------------------------------------------------------------ parts
    def _arrival(self, peer: Identity, id: str) -> Arrival:
        arrival = self._open.get(id)
        if arrival is None or arrival.peer != peer.label:
            raise NotFound(f"migration {id} is unknown, or over")
        if arrival.started.is_set():
            raise FailedPrecondition("it is being started already")
        arrival.touch()
        return arrival

    async def _or_end(self, arrival: Arrival, event: trio.Event) -> None:
        """Return once the event has come; raise what ended the work before."""
        await event.wait()
        operation = arrival.operation
        if arrival.offer.id not in self._open and operation is not None:
            await operation.wait()
            raise operation.error or FailedPrecondition(f"the migration of {arrival.offer.name} is over")

    # ------------------------------------------------------------ after a crash
    async def recover(self) -> bool:
        """Settle what an agent that ended had taken on; return whether all of it is settled."""
        settled = True
        for found in await self._parts.db.read(lambda tx: tx.migrations.list_open()):
            if found.role != "in" or found.id in self._open:
                continue
            try:
                settled &= await self._settle(found)
            except TricornError as error:
                settled = False
                log.error("what came of a migration can't be told yet", id=found.id, error=error.one_line())
        return settled

    async def _settle(self, found: Migration) -> bool:
        if after_crash(found.state) not in (Recovery.REFUSE, Recovery.LOOK):
            return True
        problem = "the target's agent was started anew"
        over = await self._refuse_when_clear(found.id, found.namespace, found.name, problem)
        if over and found.lease:
            await self._parts.drop_lease(found.namespace, found.lease)
        return over
