"""The target's side of migrations: what other nodes bring is taken in, checked, and let go on.

From the first word on, one operation of this node makes the container: its name is taken, its image unpacked,
its files laid out before the source freezes anything. It waits for the dump there. Whatever ends it before
the source has told it to start is on record as a refusal for ever, and so is whatever fails afterwards, once
nothing is left of the attempt.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import structlog
import trio
from attrs import define, evolve, field

from tricorn import limits
from tricorn.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    TricornError,
    Unimplemented,
)
from tricorn.failpoints import failpoint
from tricorn.fs import dump_files
from tricorn.fs.dump_transfer import DumpReceipt
from tricorn.model import ids
from tricorn.model.checkpoints import PRIVATE, DumpOptions, RestorePlan
from tricorn.model.ids import Digest
from tricorn.model.migrations import Answer, Migration, Offer, Pull, Seed, Start, Welcome
from tricorn.model.oci import Descriptor
from tricorn.model.records import Container, Image
from tricorn.model.reference import Reference
from tricorn.model.requests import ContainerDesired
from tricorn.ports import BundleRef, FilesystemMount
from tricorn.rules.migration import Recovery, after_crash, is_over, may_refuse
from tricorn.rules.migration_grant import MigrationRule, check_nodes, check_offer
from tricorn.rules.migration_ids import check_ids
from tricorn.rules.migration_made import container_of, needed_paths
from tricorn.rules.peers import Identity
from tricorn.service.catalog import ResolvedImage
from tricorn.service.held_lease import held_lease
from tricorn.service.lifecycle import created_of
from tricorn.service.migration_parts import MigrationParts
from tricorn.service.migration_pulls import Pulls
from tricorn.service.network_moves import Arriving
from tricorn.service.operations import Operation
from tricorn.service.progress import Reporter
from tricorn.service.revival import Revival
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
_LIMITER: Final = trio.CapacityLimiter(2)
_TRIES: Final = 3
_BATCH: Final = 4 * limits.MIB
Receive = Callable[[], Awaitable[bytes]]


@define(eq=False)
class _Arrival:
    """A migration that is under way to this agent. `stage` is set at each change of what can be answered."""

    offer: Offer
    peer: str
    directory: str
    coming: Arriving
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    opened: trio.Event = field(factory=trio.Event)
    seeded: trio.Event = field(factory=trio.Event)  # the source says that image and files are here
    prepared: trio.Event = field(factory=trio.Event)  # the files are laid out
    started: trio.Event = field(factory=trio.Event)  # the source says that it may run
    pushed: trio.Event = field(factory=trio.Event)  # the dump is in a registry
    pulled: trio.Event = field(factory=trio.Event)  # and here
    settled: trio.Event = field(factory=trio.Event)  # it runs, or was refused: on record
    lease: str = ""
    rw: Descriptor | None = None
    start: Start = field(factory=Start)
    dumped: bool = False
    image: Descriptor | None = None  # what holds the dump in a registry
    operation: Operation | None = None
    ref: BundleRef | None = None

    def touch(self) -> None:
        """The source lives: it may be silent for a while again."""
        if not self.started.is_set():
            self.scope.deadline = trio.current_time() + limits.MIGRATION_IDLE


class Arrivals:
    """`rules` say what is taken from whom."""

    def __init__(self, parts: MigrationParts, rules: Sequence[MigrationRule]) -> None:
        self._parts = parts
        self._rules = rules
        self._open: dict[str, _Arrival] = {}

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
        coming = await self._preflight(offer)
        migration = Migration(
            offer.id, "in", offer.namespace, offer.name, offer.name, peer.label, "", "accepted"
        )
        await self._parts.db.write(lambda tx: tx.migrations.create(migration))
        failpoint("arrival.accepted")
        arrival = _Arrival(offer, peer.label, self._parts.place(offer.id), coming)
        self._open[offer.id] = arrival
        work = partial(self._work, arrival)
        arrival.operation = self._parts.operations.run(offer.namespace, "arrival", offer.name, work)
        await self._or_end(arrival, arrival.opened)
        missing = await self._missing(offer)
        return Welcome(tuple(missing), coming.keeps)

    async def blob(self, peer: Identity, id: str, digest: str, receive: Receive) -> None:
        """Take a blob of the image, or a layer of changed files. DataLoss if it isn't what its name says."""
        arrival = self._arrival(peer, id)
        expected = Digest.parse(digest)
        known = {blob.digest for blob in arrival.offer.blobs}
        labels = {} if expected in known else {PRIVATE: "true"}
        namespace = arrival.offer.namespace
        async with self._parts.content.writer(
            namespace, f"migration-{id}-{expected.hex[:16]}", lease=arrival.lease
        ) as writer:
            if writer.offset:
                await writer.truncate()
            async for batch in _batches(receive):
                arrival.touch()
                await writer.write(batch)
            if writer.digest != expected:
                await writer.discard()
                raise DataLoss(f"{expected} arrived damaged")
            try:
                await writer.commit(expected=expected, labels=labels)
            except AlreadyExists:
                return

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

    async def dump(self, peer: Identity, id: str, receive: Receive) -> None:
        """Take the dump: files that only root may read, in a directory of this migration's own."""
        arrival = self._arrival(peer, id)
        if arrival.dumped:
            raise FailedPrecondition("the dump has come already")
        path = f"{arrival.directory}/dump"
        await trio.to_thread.run_sync(partial(dump_files.make_directory, path), limiter=_LIMITER)
        receipt = DumpReceipt(path)
        try:
            async for batch in _batches(receive):
                arrival.touch()
                await trio.to_thread.run_sync(receipt.feed, batch, limiter=_LIMITER)
            await trio.to_thread.run_sync(receipt.finish, limiter=_LIMITER)
        finally:
            receipt.close()
        arrival.dumped = True
        failpoint("arrival.received")

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
    async def _work(self, arrival: _Arrival, report: Reporter) -> str:
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
                    await self._make(arrival, report)
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

    async def _make(self, arrival: _Arrival, report: Reporter) -> None:
        offer, parts = arrival.offer, self._parts
        namespace, name = offer.namespace, offer.name
        async with parts.lifecycle.locks.hold(namespace, name):
            report.report("seed", name)
            await arrival.seeded.wait()
            await self._pull_image(arrival)
            desired, image = await self._held_image(arrival)
            if await parts.db.read(lambda tx: tx.containers.find(namespace, name)):
                raise AlreadyExists(f"container {name} exists already on the target")
            report.report("prepare", name)
            revival = Revival(
                partial(self._fill, arrival, report), partial(self._check, arrival),
                partial(self.record, arrival),
                container_of(offer.made, name) if offer.made else None,
            )  # fmt: skip
            await parts.db.read(lambda tx: tx.budgets.admit(namespace, "containers"))
            await parts.lifecycle.create(namespace, name, desired, image, start=True, revival=revival)
            with trio.CancelScope(shield=True):  # who is given its memory yet is looked after, come what may
                failpoint("arrival.running")
                container, task = await parts.lifecycle.records(namespace, name)
                ref = parts.lifecycle.bundles.ref(namespace, container, task)
                await parts.reviver.release(ref, created_of(task))
            await parts.networks.free(namespace, name)
            arrival.settled.set()
            if offer.keep_image:
                await self._keep_image(namespace, image.image)
        log.info("container arrived", namespace=namespace, container=name, peer=arrival.peer)

    async def _pull_image(self, arrival: _Arrival) -> None:
        """Bring what the source has put into a registry so far."""
        offer = arrival.offer
        if not offer.via:
            return
        pulls = self._pulls(arrival)
        missing = set(await self._missing(offer))
        for blob in {blob.digest: blob for blob in offer.blobs if str(blob.digest) in missing}.values():
            await pulls.blob(blob)
        if arrival.rw is not None:
            await pulls.blob(arrival.rw, secret=True)

    def _pulls(self, arrival: _Arrival) -> Pulls:
        offer, parts = arrival.offer, self._parts
        return Pulls(
            parts.content, parts.registry, offer.namespace, arrival.lease,
            Reference.parse(offer.via, "via"), offer.plain_http, arrival.touch,
        )  # fmt: skip

    async def _held_image(self, arrival: _Arrival) -> tuple[ContainerDesired, ResolvedImage]:
        """Return the image, whose layers stay until the container stands on them: it has no name here, and
        the source may take its time.
        """
        offer, snapshots = arrival.offer, self._parts.snapshots
        for _ in range(_TRIES):
            desired, image = await self._image(offer)
            snapshotter = desired.snapshotter or await snapshots.default_in(offer.namespace)
            top = image.chain[-1:]
            if not top or await snapshots.hold(offer.namespace, snapshotter, top, arrival.lease):
                return desired, image
        raise FailedPrecondition("the image's layers are removed while they are needed", hint="try again")

    async def _image(self, offer: Offer) -> tuple[ContainerDesired, ResolvedImage]:
        """Return the image, unpacked, by its digest: no name is written for it."""
        runtime = await self._runtime(offer)
        desired = evolve(offer.container, state="started", pull="never", runtime=runtime)
        base = Image(str(Reference.parse(desired.image, "image")), evolve(offer.image, platform=None))
        await self._parts.gate.require_container(offer.namespace, base, desired.image)
        return desired, await self._parts.checkpoints.bases.unpacked(offer.namespace, base, desired)

    async def _runtime(self, offer: Offer) -> str:
        wanted = await self._parts.snapshots.defaults.runtime(offer.namespace)
        default = await self._parts.specs.runtime_name(wanted)
        asked = offer.made.runtime if offer.made else offer.container.runtime
        return asked or await self._parts.reviver.runtime(default)

    async def _fill(self, arrival: _Arrival, report: Reporter, mounts: Sequence[FilesystemMount]) -> None:
        """Lay out the files as they were, wait for the source, then bring what changed since."""
        namespace = arrival.offer.namespace
        if arrival.rw is not None:
            await self._parts.diff.apply(namespace, arrival.rw, mounts)
        await self._parts.networks.prepare(arrival.coming)
        await self._parts.db.write(lambda tx: tx.migrations.advance("in", arrival.offer.id, "seeded"))
        failpoint("arrival.seeded")
        arrival.prepared.set()
        report.report("wait", arrival.offer.name)
        if arrival.offer.via:
            await arrival.pushed.wait()
            assert arrival.image is not None, "it was told"
            await self._pulls(arrival).dump(arrival.image, arrival.directory)
            arrival.dumped = True
            arrival.pulled.set()
            failpoint("arrival.received")
        await arrival.started.wait()
        report.report("restore", arrival.offer.name)
        if (rest := arrival.start.rw) is not None:
            async with self._parts.mounts.temporary(mounts) as path:
                # through a mount of its own: whiteouts remove what the first layer brought
                await self._parts.diff.apply(namespace, rest, (FilesystemMount("bind", path, ("rbind",)),))

    async def _check(self, arrival: _Arrival, ref: BundleRef, spec: bytes) -> RestorePlan:
        start = arrival.start
        options = DumpOptions(
            external_unix_sockets=start.external_unix_sockets, shell_job=start.shell_job,
            file_locks=start.file_locks,
        )  # fmt: skip
        arrival.ref = ref
        await self._parts.reviver.adopt(ref, f"{arrival.directory}/dump", spec)
        return await self._parts.reviver.plan(ref, options, lazy=arrival.offer.lazy)

    def record(self, arrival: _Arrival, tx: Transaction) -> None:
        """Put on record that it runs, which has its source delete the other copy: unless it can't go on."""
        if arrival.ref is not None and self._parts.runtime.lazy_state(arrival.ref) == "failed":
            raise FailedPrecondition("what gives it its memory has ended before all was given")
        tx.migrations.advance("in", arrival.offer.id, "running")

    async def _keep_image(self, namespace: str, image: Image) -> None:
        """Give the image its name, if it may have it and nothing else does; it runs in any case."""
        try:
            await self._parts.gate.require_all(namespace, [image])

            def keep(tx: Transaction) -> None:
                if tx.images.find(namespace, image.name) is None:
                    tx.images.put(namespace, image)

            await self._parts.db.write(keep)
        except TricornError as error:
            log.warning("a migrated image got no name", image=image.name, error=error.one_line())

    async def _end(self, arrival: _Arrival, problem: str) -> None:
        """Put the refusal on record, unless it runs; nothing of the attempt is left then."""
        offer = arrival.offer
        self._open.pop(offer.id, None)
        for event in (arrival.opened, arrival.prepared, arrival.pulled):
            event.set()
        remove = partial(shutil.rmtree, arrival.directory, ignore_errors=True)
        await trio.to_thread.run_sync(remove, limiter=_LIMITER)
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
    async def _preflight(self, offer: Offer) -> Arriving:
        """Return what the container's network will be. Raises what speaks against taking the container."""
        self._parts.lifecycle.cordon.require_open(f"container {offer.name}, which another node brings,")
        found = await self._parts.db.read(lambda tx: tx.containers.find(offer.namespace, offer.name))
        if found is not None:
            raise AlreadyExists(
                f"container {offer.name} exists already on the target", hint="give it another name: --name"
            )
        known = await self._parts.db.read(lambda tx: tx.containers.list_all())
        check_ids(offer.container, ((container.id, container.spec) for _, container in known))
        check_nodes(offer.facts, await self._parts.facts())
        for mount in offer.container.mounts:
            if mount.type != "tmpfs" and not os.path.exists(mount.source):  # noqa: ASYNC240 - one look
                raise FailedPrecondition(
                    f"{mount.source} is not on the target", why=f"the container mounts it at {mount.target}"
                )
        for path, why in needed_paths(offer.made) if offer.made else ():
            if not os.path.exists(path):  # noqa: ASYNC240 - one look
                raise FailedPrecondition(f"{path} is not on the target", why=why)
        if offer.lazy:
            await self._require_lazy(offer)
        room = os.statvfs(os.path.dirname(self._parts.directory))
        if room.f_bavail * room.f_frsize < offer.needed:
            raise ResourceExhausted("the target's disk has no room for it", why=f"{offer.needed} bytes")
        addresses = (offer.address, *offer.more_addresses) if offer.address else ()
        coming = Arriving(offer.namespace, offer.name, offer.container, addresses, offer.keep_address)
        return evolve(coming, keeps=await self._parts.networks.foresee(coming))

    async def _require_lazy(self, offer: Offer) -> None:
        if offer.container.uid_map or offer.container.gid_map:
            raise Unimplemented(
                "giving containers in user namespaces their memory later",
                why="the kernel lets only the node's root have its page faults told",
                hint="migrate it without `lazy` (`--lazy`)", field="lazy",
            )  # fmt: skip
        try:
            await self._parts.runtime.can_restore_lazily(await self._runtime(offer))
        except Unimplemented as error:
            raise Unimplemented(
                "the target can't let it go on before its memory is there", why=f"{error.what}: {error.why}",
                hint="migrate it without `lazy` (`--lazy`)", field="lazy",
            ) from None  # fmt: skip

    async def _missing(self, offer: Offer) -> list[str]:
        def look(tx: Transaction) -> list[str]:
            found = []
            for blob in offer.blobs:
                if tx.content.find(offer.namespace, blob.digest) is None:
                    found.append(str(blob.digest))
                else:
                    tx.leases.protect(offer.namespace, self._open[offer.id].lease, "content", blob.digest)
            return found

        return await self._parts.db.write(look)

    def _arrival(self, peer: Identity, id: str) -> _Arrival:
        arrival = self._open.get(id)
        if arrival is None or arrival.peer != peer.label:
            raise NotFound(f"migration {id} is unknown, or over")
        if arrival.started.is_set():
            raise FailedPrecondition("it is being started already")
        arrival.touch()
        return arrival

    async def _or_end(self, arrival: _Arrival, event: trio.Event) -> None:
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


async def _batches(receive: Receive) -> AsyncIterator[bytearray]:
    """Yield the body in larger pieces."""
    batch, total = bytearray(), 0
    while piece := await receive():
        batch += piece
        total += len(piece)
        if total > limits.MIGRATION_SIZE:
            raise InvalidArgument("it is too large", why=f"over {limits.MIGRATION_SIZE} bytes")
        if len(batch) >= _BATCH:
            yield batch
            batch = bytearray()
    if batch:
        yield batch
