"""One container on its way to another node, as its source does it."""

from __future__ import annotations

import hashlib
import os
import tarfile
from contextlib import suppress
from functools import partial
from typing import Any, Final

import msgspec
import structlog
import trio
from attrs import define, evolve, field

from tricorn import limits
from tricorn.errors import FailedPrecondition, NotFound, TricornError
from tricorn.failpoints import failpoint
from tricorn.fs import dump_files, rw_changes
from tricorn.fs.diffing import upper_directory
from tricorn.model.checkpoints import DumpOptions
from tricorn.model.ids import Digest
from tricorn.model.migrations import (
    PATH,
    Answer,
    MigrateRequest,
    Migration,
    MigrationReport,
    Offer,
    Seed,
    Start,
    State,
    Welcome,
)
from tricorn.model.networks import NetworkKind
from tricorn.model.oci import OCI_LAYER, Descriptor
from tricorn.model.records import Container, SnapshotKind, TaskStatus
from tricorn.model.requests import ContainerDesired
from tricorn.ports import BundleRef, FilesystemMount
from tricorn.private_directories import renew_directory
from tricorn.registry.peer_link import PeerLink
from tricorn.rules.migration import verdict
from tricorn.rules.migration_ids import mapped_request
from tricorn.rules.migration_made import made_of
from tricorn.rules.migration_network import check_network, must_keep_address
from tricorn.rules.networks import parse_network
from tricorn.service.catalog import ResolvedImage
from tricorn.service.lifecycle import ALIVE
from tricorn.service.migration_parts import MigrationParts
from tricorn.service.migration_rounds import parent_of
from tricorn.service.migration_ways import Way
from tricorn.service.nurseries import typed_nursery
from tricorn.service.progress import Reporter
from tricorn.store.codec import to_json
from tricorn.store.transaction import Transaction
from tricorn.structuring import structure

log = structlog.get_logger(__name__)
_LIMITER: Final = trio.CapacityLimiter(4)
_SETTLE: Final = limits.DUMP_SETTLE


@define
class Departure:
    """Does it step by step. Each state is on record before the step that it stands for."""

    parts: MigrationParts
    link: PeerLink
    way: Way
    migration: Migration
    request: MigrateRequest
    report: Reporter
    lease: str = ""
    costs: MigrationReport = field(factory=MigrationReport)
    proved: bool = False  # the target says that it never starts it
    rounds: int = 0  # of memory that went before the freeze
    _before: rw_changes.Index | None = None
    _began: float = field(factory=trio.current_time)
    _froze: float = 0.0
    _part: tuple[str, int, int] = ("", 0, 0)
    _keeps_address: bool = False  # what comes for it from the freeze on is the target's business

    # ------------------------------------------------------------ before the freeze
    async def preflight(self, container: Container, ref: BundleRef, pid: int) -> None:
        """Ask the target whether it takes the container; raises what speaks against it."""
        namespace = self.migration.namespace
        self.report.report("preflight", self.migration.node)
        await self.parts.runtime.can_checkpoint(ref.runtime)
        target = await self.parts.checkpoints.bases.of_container(namespace, container)
        if target is None:
            raise FailedPrecondition(f"container {container.id} was made of no image that could go along")
        # what the target looks for the image by; nothing else of it is used where a client made the spec
        desired, made = ContainerDesired(container.image, args=("-",), user="0"), None
        if container.desired:
            desired = structure(dict(container.desired), ContainerDesired, "the container's request")
            desired = mapped_request(desired, container.spec)
        else:
            made = made_of(container)
        addresses, must = await self._network(desired, pid)
        image = await self._image(namespace, container, target)
        blobs = (*_documents(image), *image.manifest.layers)
        facts = await self.parts.facts()
        offer = Offer(
            self.migration.id, namespace, self.migration.name, desired, target, tuple(blobs), facts,
            await self.memory(ref), self.request.keep_image, next(iter(addresses), ""), must, made,
            self.request.via, self.request.plain_http, self.request.lazy, addresses[1:],
        )  # fmt: skip
        welcome = structure(await self.link.ask("POST", PATH, to_json(offer)), Welcome, "the target's answer")
        self._keeps_address = welcome.keeps_address
        self.cost(address_kept=welcome.keeps_address)
        failpoint("departure.offered")
        await self.advance("seed")
        await self._send_image(blobs, set(welcome.missing))

    async def _network(self, desired: ContainerDesired, pid: int) -> tuple[tuple[str, ...], bool]:
        """Return the container's addresses in its network, and whether it can't do without."""
        name, choice = self.migration.container, parse_network(desired.network)
        check_network(name, choice, self.request)
        if choice.kind in (NetworkKind.HOST, NetworkKind.PATH):  # others' sockets are there, too
            return (), False
        must = must_keep_address(name, choice, await self.parts.networks.needs(pid), self.request)
        if not choice.managed:
            return (), False
        return await self.parts.networks.addresses_of(self.migration.namespace, name), must

    async def _image(self, namespace: str, container: Container, target: Descriptor) -> ResolvedImage:
        record = await self.parts.db.read(lambda tx: tx.images.get(namespace, container.image))
        image = await self.parts.catalog.resolve(
            namespace, evolve(record, target=target), self.parts.machine, container.snapshotter
        )
        if image.missing:
            raise FailedPrecondition(
                f"the image of container {container.id} is not complete here", why=f"{image.missing[0]}",
                hint=f"`tricorn -n {namespace} image pull {container.image}` brings the rest",
            )  # fmt: skip
        return image

    async def memory(self, ref: BundleRef) -> int:
        """Return how much the container uses now, in bytes."""
        sample = (await self.parts.runtime.sample([(ref, None)]))[0]
        return int(sample.figures.get("memory_bytes", 0)) if sample else 0

    async def _send_image(self, blobs: tuple[Descriptor, ...], missing: set[str]) -> None:
        wanted = list({blob.digest: blob for blob in blobs if str(blob.digest) in missing}.values())
        total = sum(blob.size for blob in wanted)
        self.begin_part("image", total)
        for blob in wanted:
            await self._send_blob(blob)
        self.cost(image_bytes=total)
        failpoint("departure.image")

    async def _send_blob(self, blob: Descriptor) -> None:
        async with self.parts.content.open(self.migration.namespace, blob.digest):
            await self.way.blob(blob, self.parts.content.blob_path(blob.digest), self.sent)

    async def seed(self, container: Container) -> None:
        """Send what the container has changed in its files so far, while it runs on."""
        started = trio.current_time()
        mounts = await self._mounts(container)
        if upper := upper_directory(*mounts):
            self._before = await trio.to_thread.run_sync(rw_changes.index, upper, limiter=_LIMITER)
        layer = await self._layer(mounts)
        self.begin_part("files", layer.size)
        await self._send_blob(layer)
        self.cost(rw_bytes=layer.size)
        self.report.report("prepare", self.migration.node)
        answer = Answer("accepted")
        while answer.state == "accepted":
            answer = await self._ask("POST", "/seed", to_json(Seed(layer)))
        if answer.state != "seeded":
            raise FailedPrecondition("the target gave up", why=answer.reason)
        self.cost(seed_ms=_ms(started))
        failpoint("departure.seeded")

    async def _mounts(
        self, container: Container
    ) -> tuple[tuple[FilesystemMount, ...], tuple[FilesystemMount, ...]]:
        """Return what shows the image, and what shows the container's files on top."""
        namespace, snapshots = self.migration.namespace, self.parts.snapshots
        snapshot = await snapshots.get(namespace, container.snapshotter, container.snapshot_key)
        parents = await snapshots.parents(namespace, container.snapshotter, snapshot.parent)
        backend = snapshots.backend(container.snapshotter)
        left = backend.mounts(parents[0], SnapshotKind.VIEW, parents) if parents else ()
        return tuple(left), tuple(backend.mounts(snapshot.backend_id, snapshot.kind, parents))

    async def _layer(
        self, mounts: tuple[tuple[FilesystemMount, ...], tuple[FilesystemMount, ...]]
    ) -> Descriptor:
        return await self.parts.diff.diff(
            self.migration.namespace, *mounts, media_type=OCI_LAYER, lease=self.lease
        )

    # ------------------------------------------------------------ from the freeze on
    async def freeze(self, ref: BundleRef) -> None:
        """Hold the container still. It is on record before, so that a later agent lets it go on."""
        await self.advance("freeze")
        failpoint("departure.freeze")
        self.report.report("freeze", ref.id)
        self._froze = trio.current_time()
        await self.parts.runtime.pause(ref)
        await self.parts.db.write(
            partial(_note_status, ref, TaskStatus.PAUSED, "/tasks/paused"), durable=False
        )
        if self._keeps_address:
            await self.parts.networks.silence(ref.namespace, ref.id)
        failpoint("departure.frozen")

    async def final(self, ref: BundleRef, container: Container) -> Start:
        """Dump memory, find what changed in the files since the seed, and send both."""
        await self.advance("final", durable=False)
        place = self.parts.place(f"out-{self.migration.id}")
        await trio.to_thread.run_sync(_make, place, bool(self.rounds), limiter=_LIMITER)
        started = trio.current_time()
        rest: list[tuple[str, Descriptor] | None] = [None]
        self.report.report("dump", ref.id)

        async def files() -> None:
            rest[0] = await self._rest(container, place)

        async with typed_nursery() as nursery:
            nursery.start_soon(files)
            await self._dump(ref, place)
        self.cost(dump_ms=_ms(started))
        started = trio.current_time()
        found = rest[0]
        size = await self.way.dump(place, found, partial(self.begin_part, "memory"), self.sent)
        self.cost(
            dump_bytes=size, final_rw_bytes=found[1].size if found else 0, send_ms=_ms(started),
        )  # fmt: skip
        failpoint("departure.sent")
        return Start(
            found[1] if found else None, self.request.external_unix_sockets, self.request.shell_job,
            self.request.file_locks, self.rounds,
        )  # fmt: skip

    async def _dump(self, ref: BundleRef, place: str) -> None:
        images = f"{place}/images"
        with trio.CancelScope(shield=True):  # a CRIU that is cut short could leave threads stopped
            await self.parts.runtime.checkpoint(
                ref, images, f"{place}/work", self.dump_options(), parent_of(self.rounds)
            )
            await trio.to_thread.run_sync(dump_files.close_up, images, limiter=_LIMITER)
        failpoint("departure.dumped")

    def dump_options(self) -> DumpOptions:
        """Return what CRIU is allowed and told."""
        return DumpOptions(
            leave_running=True, tcp_established=self.request.tcp_established,
            external_unix_sockets=self.request.external_unix_sockets,
            shell_job=self.request.shell_job, file_locks=self.request.file_locks,
        )  # fmt: skip

    async def _rest(self, container: Container, place: str) -> tuple[str, Descriptor] | None:
        """Return what changed in the files since the seed as a file and its descriptor; None for nothing."""
        mounts = await self._mounts(container)
        upper = upper_directory(*mounts)
        if not upper or self._before is None:
            raise FailedPrecondition(
                f"what container {container.id} changes in its files can't be followed",
                why=f"its snapshotter {container.snapshotter} has no directory of changes",
                hint="containers of the overlayfs snapshotter can be migrated",
            )
        after = await trio.to_thread.run_sync(rw_changes.index, upper, limiter=_LIMITER)
        if after == self._before:
            return None
        layer = await self._layer(mounts)
        path = f"{place}/files"
        try:
            size = await trio.to_thread.run_sync(
                rw_changes.changes, self.parts.content.blob_path(layer.digest), path, self._before, after,
                limiter=_LIMITER,
            )  # fmt: skip
        except (OSError, tarfile.TarError) as error:
            raise FailedPrecondition("the changed files can't be told", why=str(error)[:300]) from None
        return path, Descriptor(OCI_LAYER, await trio.to_thread.run_sync(_digest, path), size)

    async def start(self, start: Start) -> State | None:
        """Tell the target to let it go on; return what became of it. Only the target knows from here on."""
        await self.advance("restore")
        failpoint("departure.asked")
        self.report.report("restore", self.migration.node)
        started = trio.current_time()
        answer = await self._ask("POST", "/start", to_json(start))
        while (found := verdict(answer.state)) is None:
            answer = await self._ask("GET", "?wait=1")
        failpoint("departure.answered")
        if found == "acked":
            self.cost(restore_ms=_ms(started), downtime_ms=_ms(self._froze), total_ms=_ms(self._began))
        else:
            self.migration = evolve(self.migration, reason=answer.reason)
        return found

    # ------------------------------------------------------------ parts
    async def advance(self, state: State, *, durable: bool = True, **changes: Any) -> None:
        """Put the next state on record."""
        changes.setdefault("report", self.costs)
        self.migration = await self.parts.db.write(
            lambda tx: tx.migrations.advance("out", self.migration.id, state, **changes), durable=durable
        )

    @property
    def _path(self) -> str:
        return f"{PATH}/{self.migration.id}"

    async def _ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        return structure(await self.link.ask(method, self._path + path, body), Answer, "the target's answer")

    def cost(self, **figures: Any) -> None:
        """Put into the report what has been measured."""
        self.costs = evolve(self.costs, **figures)

    def begin_part(self, phase: str, total: int) -> None:
        """Have `sent` counted for this phase."""
        self._part = phase, 0, total
        self.report.report(phase, self.migration.node, offset=0, total=total)

    def sent(self, count: int) -> None:
        """Tell of so many more bytes that went over."""
        phase, offset, total = self._part
        self._part = phase, offset + count, total
        self.report.report(phase, self.migration.node, offset=offset + count, total=total)


async def refusal(link: PeerLink, id: str, why: str) -> Answer:
    """Ask a target to promise that it never starts the container; it tells if it has.

    Raises what speaks against an answer: nothing is known then.
    """
    body = msgspec.json.encode({"why": why})
    found = structure(await link.ask("POST", f"{PATH}/{id}/refuse", body), Answer, "the target's answer")
    failpoint("departure.told")
    return found


async def let_go_on(parts: MigrationParts, migration: Migration) -> None:
    """Let the source's copy go on, and remove what there is of its dump; idempotent. One that has ended
    stays as it is.
    """
    namespace, name = migration.namespace, migration.container
    place = parts.place(f"out-{migration.id}")
    await parts.runtime.settle_dump(f"{place}/images", _SETTLE)
    try:
        container, task = await parts.lifecycle.records(namespace, name)
        if task is not None and task.status in ALIVE:
            ref = parts.lifecycle.bundles.ref(namespace, container, task)
            await parts.networks.free(namespace, name)
            await parts.runtime.resume(ref)
            failpoint("departure.resumed")
            await parts.db.write(partial(_note_status, ref, TaskStatus.RUNNING, "/tasks/resumed"))
    except TricornError as error:  # it has ended meanwhile
        log.info("not resumed", container=name, why=error.one_line())
    await parts.clear(f"out-{migration.id}")


async def delete_source(parts: MigrationParts, migration: Migration) -> None:
    """Remove the source's copy, which stands still; idempotent. The caller holds its lock."""
    with suppress(NotFound):
        await parts.lifecycle.delete(migration.namespace, migration.container, wait=True)
    failpoint("departure.deleted")
    await parts.clear(f"out-{migration.id}")


def _note_status(ref: BundleRef, status: TaskStatus, topic: str, tx: Transaction) -> None:
    task = tx.tasks.find(ref.namespace, ref.id)
    if task is not None and task.status in ALIVE and task.status is not status:
        tx.tasks.put(ref.namespace, evolve(task, status=status))
        tx.events.publish(ref.namespace, topic, {"container_id": ref.id})


def _documents(image: ResolvedImage) -> tuple[Descriptor, ...]:
    """Return the documents of an image for one platform, the outermost first."""
    return image.image.target, image.descriptor, image.manifest.config


def _make(place: str, has_rounds: bool) -> None:
    if not has_rounds:
        renew_directory(place)
    for name in ("images", "work"):
        os.mkdir(os.path.join(place, name), 0o700)


def _digest(path: str) -> Digest:
    with open(path, "rb") as file:
        return Digest.parse(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")


def _ms(since: float) -> int:
    return round((trio.current_time() - since) * 1000)
