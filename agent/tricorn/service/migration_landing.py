"""The container that another node brings, made here: image and files before it is frozen there, memory
afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog
import trio
from attrs import evolve, frozen

from tricorn.errors import AlreadyExists, FailedPrecondition, TricornError
from tricorn.failpoints import failpoint
from tricorn.fs import dump_rounds
from tricorn.model.checkpoints import DumpOptions, RestorePlan
from tricorn.model.records import Image
from tricorn.model.reference import Reference
from tricorn.model.requests import ContainerDesired
from tricorn.ports import BundleRef, FilesystemMount
from tricorn.rules.migration_made import container_of
from tricorn.service.catalog import ResolvedImage
from tricorn.service.lifecycle import created_of
from tricorn.service.migration_arrival import Arrival
from tricorn.service.migration_offers import Offers
from tricorn.service.migration_parts import MigrationParts
from tricorn.service.migration_pulls import Pulls
from tricorn.service.progress import Reporter
from tricorn.service.revival import Revival
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
_LIMITER: Final = trio.CapacityLimiter(2)
_TRIES: Final = 3


@frozen
class Landing:
    _parts: MigrationParts
    _offers: Offers
    _arrival: Arrival
    _report: Reporter

    async def make(self) -> None:
        """Make the container as the source's words come in; `Arrivals` tells the order."""
        arrival, offer, parts = self._arrival, self._arrival.offer, self._parts
        namespace, name = offer.namespace, offer.name
        async with parts.lifecycle.locks.hold(namespace, name):
            self._report.report("seed", name)
            await arrival.seeded.wait()
            await self._pull_image()
            desired, image = await self._held_image()
            if await parts.db.read(lambda tx: tx.containers.find(namespace, name)):
                raise AlreadyExists(f"container {name} exists already on the target")
            self._report.report("prepare", name)
            revival = Revival(
                self._fill, self._check, self.record,
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

    async def _pull_image(self) -> None:
        """Bring what the source has put into a registry so far."""
        offer, rw = self._arrival.offer, self._arrival.rw
        if not offer.via:
            return
        pulls = self._pulls()
        missing = set(await self._offers.missing(offer, self._arrival.lease))
        for blob in {blob.digest: blob for blob in offer.blobs if str(blob.digest) in missing}.values():
            await pulls.blob(blob)
        if rw is not None:
            await pulls.blob(rw, secret=True)

    def _pulls(self) -> Pulls:
        offer, parts = self._arrival.offer, self._parts
        return Pulls(
            parts.content, parts.registry, offer.namespace, self._arrival.lease,
            Reference.parse(offer.via, "via"), offer.plain_http, self._arrival.touch,
        )  # fmt: skip

    async def _held_image(self) -> tuple[ContainerDesired, ResolvedImage]:
        """Return the image, whose layers stay until the container stands on them: it has no name here, and
        the source may take its time.
        """
        offer, snapshots = self._arrival.offer, self._parts.snapshots
        for _ in range(_TRIES):
            desired, image = await self._image()
            snapshotter = desired.snapshotter or await snapshots.default_in(offer.namespace)
            top = image.chain[-1:]
            if not top or await snapshots.hold(offer.namespace, snapshotter, top, self._arrival.lease):
                return desired, image
        raise FailedPrecondition("the image's layers are removed while they are needed", hint="try again")

    async def _image(self) -> tuple[ContainerDesired, ResolvedImage]:
        """Return the image, unpacked, by its digest: no name is written for it."""
        offer = self._arrival.offer
        runtime = await self._offers.runtime(offer)
        desired = evolve(offer.container, state="started", pull="never", runtime=runtime)
        base = Image(str(Reference.parse(desired.image, "image")), evolve(offer.image, platform=None))
        await self._parts.gate.require_container(offer.namespace, base, desired.image)
        return desired, await self._parts.checkpoints.bases.unpacked(offer.namespace, base, desired)

    async def _fill(self, mounts: Sequence[FilesystemMount]) -> None:
        """Lay out the files as they were, wait for the source, then bring what changed since."""
        arrival, namespace = self._arrival, self._arrival.offer.namespace
        if arrival.rw is not None:
            await self._parts.diff.apply(namespace, arrival.rw, mounts)
        await self._parts.networks.prepare(arrival.coming)
        await self._parts.db.write(lambda tx: tx.migrations.advance("in", arrival.offer.id, "seeded"))
        failpoint("arrival.seeded")
        arrival.prepared.set()
        self._report.report("wait", arrival.offer.name)
        if arrival.offer.via:
            await arrival.pushed.wait()
            assert arrival.image is not None, "it was told"
            await self._pulls().dump(arrival.image, arrival.directory)
            arrival.dumped = True
            arrival.pulled.set()
            failpoint("arrival.received")
        await arrival.started.wait()
        self._report.report("restore", arrival.offer.name)
        if (rest := arrival.start.rw) is not None:
            async with self._parts.mounts.temporary(mounts) as path:
                # through a mount of its own: whiteouts remove what the first layer brought
                await self._parts.diff.apply(namespace, rest, (FilesystemMount("bind", path, ("rbind",)),))

    async def _check(self, ref: BundleRef, spec: bytes) -> RestorePlan:
        arrival, start = self._arrival, self._arrival.start
        options = DumpOptions(
            external_unix_sockets=start.external_unix_sockets, shell_job=start.shell_job,
            file_locks=start.file_locks,
        )  # fmt: skip
        arrival.ref = ref
        dump = f"{arrival.directory}/dump"
        if start.rounds:
            join = partial(dump_rounds.join, dump, f"{arrival.directory}/rounds", start.rounds)
            await trio.to_thread.run_sync(join, limiter=_LIMITER)
        await self._parts.reviver.adopt(ref, dump, spec, start.rounds)
        return await self._parts.reviver.plan(ref, options, lazy=arrival.offer.lazy)

    def record(self, tx: Transaction) -> None:
        """Put on record that it runs, which has its source delete the other copy: unless it can't go on."""
        arrival = self._arrival
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
