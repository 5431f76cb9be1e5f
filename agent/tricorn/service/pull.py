"""Pull and unpack: resolve → documents → layers side by side → one transaction.

Blobs are recorded as soon as each is verified, under a lease, so that an interrupted pull goes on where
it stopped; snapshots, labels and the image's name appear together, in one transaction, or not at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import structlog
import trio
from attrs import evolve, frozen

from tricorn import limits
from tricorn.errors import AlreadyExists, InvalidArgument, NotFound, Unavailable
from tricorn.failpoints import failpoint
from tricorn.model.ids import Digest
from tricorn.model.oci import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    ImageConfig,
    Manifest,
    parse_image_config,
    parse_image_document,
)
from tricorn.model.records import Image, Snapshot
from tricorn.ports import Clock, ContentStore, Registry
from tricorn.rules import platforms
from tricorn.rules.chains import chain_ids, child_labels, diff_ids_of
from tricorn.rules.checkpoint_index import checkpoint_parts
from tricorn.service.bringing import Bringing
from tricorn.service.held_lease import work_labels
from tricorn.service.layers import Layer, LayerPipeline, PullRequest, note_origin, origin_label
from tricorn.service.locks import KeyedLock
from tricorn.service.nurseries import typed_nursery
from tricorn.service.policy import PolicyGate
from tricorn.service.policy_checks import Subject
from tricorn.service.progress import Reporter
from tricorn.service.snapshots import Reservation, Sealing, SnapshotService
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)


@frozen
class Documents:
    """An image's verified documents; `chain` holds the chain ids, one a layer."""

    descriptor: Descriptor  # of the manifest
    manifest: Manifest
    config: ImageConfig
    chain: tuple[str, ...]
    parts: tuple[Descriptor, ...] = ()  # of a checkpoint: what its index holds beside its image


@frozen
class Brought:
    """An image unpacked for a snapshotter ("" for none), before anything records it."""

    snapshotter: str
    documents: Documents
    layers: Sequence[Layer]
    reservation: Reservation


class Puller:
    """Brings images to the node. One instance a process: it joins pulls of the same image."""

    def __init__(
        self,
        db: Database,
        content: ContentStore,
        registry: Registry,
        pipeline: LayerPipeline,
        snapshots: SnapshotService,
        clock: Clock,
        gate: PolicyGate,
    ) -> None:
        self._db = db
        self._content = content
        self._registry = registry
        self.pipeline = pipeline
        self._snapshots = snapshots
        self._clock = clock
        self.gate = gate
        self.coming = Bringing()
        self._images = KeyedLock()
        self._documents_lock = KeyedLock()

    async def resolve(self, request: PullRequest) -> Descriptor:
        """Ask the registry what the reference names now."""
        return await self._registry.resolve(
            request.reference, auth=request.auth, plain_http=request.plain_http, way=request.way
        )

    async def pull(self, request: PullRequest, target: Descriptor, reporter: Reporter) -> Image:
        """Bring `target` and what it needs for the platform; return the recorded image. Raises as
        `PolicyGate.require` before anything is brought.
        """
        await self.gate.require(subject_of(request, str(request.reference), target), fresh=True)
        await self.admit(request.namespace, [str(request.reference)])
        async with self.image_lock(request, target), self.leased(request) as lease:
            reporter.report("resolve", f"{request.reference} is {target.digest}")
            async with self._snapshots.reservation(request.snapshotter) as reservation:
                async with typed_nursery() as storing:  # what goes on while the layers come
                    documents = await self.documents(request, target, lease, storing)
                    for document in (target, documents.descriptor, documents.manifest.config):
                        reporter.item(document).finish()
                    board: list[Layer] = []
                    reporter.watch(board)
                    reporter.report("download")
                    layers = await self.bring(request, documents, lease, reservation, board)
                reporter.report("commit")
                brought = Brought(request.snapshotter, documents, layers, reservation)
                name = Image(str(request.reference), target, request.labels)
                done_with = "" if request.lease else lease
                (image,) = await self.record(request.namespace, [brought], [name], done_with=done_with)
        log.info("image pulled", namespace=request.namespace, image=image.name, digest=str(target.digest))
        return image

    async def admit(self, namespace: str, names: Sequence[str]) -> None:
        """Refuse names of images that the namespace's budget has no room for. ResourceExhausted."""
        await self._db.read(lambda tx: tx.budgets.admit_images(namespace, names))

    @asynccontextmanager
    async def image_lock(self, request: PullRequest, target: Descriptor) -> AsyncIterator[None]:
        """Hold an image: pulls of one image wait for each other, then find all there."""
        async with AsyncExitStack() as stack:
            if request.source is None:
                stack.enter_context(self.coming.target(request.namespace, request.reference.name, target))
            await stack.enter_async_context(self._images.hold(request.namespace, target.digest))
            yield

    @asynccontextmanager
    async def leased(self, request: PullRequest) -> AsyncIterator[str]:
        """Keep what comes from collection while it has no name: by the client's lease or one of our own.

        When the registry fails in the middle, what came stays for a while: the next pull goes on from there.
        """
        if request.lease:
            yield request.lease
            return
        lease = await self._lease(request.namespace)
        done_with = self._release
        try:
            yield lease
        except Unavailable:
            done_with = self._keep_for_next
            raise
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
                await done_with(request.namespace, lease)

    async def _keep_for_next(self, namespace: str, lease: str) -> None:
        expire = self._clock.now() + timedelta(seconds=limits.PULL_KEPT_SECONDS)
        labels = {"containerd.io/gc.expire": expire.isoformat()}
        await self._db.write(lambda tx: tx.leases.set_labels(namespace, lease, labels))

    async def _lease(self, namespace: str) -> str:
        lease = f"pull-{uuid4().hex[:12]}"
        labels = work_labels("pull", self._clock.now())
        await self._db.write(lambda tx: tx.leases.create(namespace, lease, labels), durable=False)
        failpoint("pull.leased")
        return lease

    async def _release(self, namespace: str, lease: str) -> None:
        def forget(tx: Transaction) -> None:
            try:
                tx.leases.delete(namespace, lease)
            except NotFound:
                return

        await self._db.write(forget)

    # ------------------------------------------------------------ documents
    async def documents(
        self, request: PullRequest, target: Descriptor, lease: str, storing: trio.Nursery | None = None
    ) -> Documents:
        """Bring the documents of what suits the request's platform best. With `storing`, they may still be
        on their way to the disk in there.
        """

        async def document_of(wanted: Descriptor) -> bytes:
            if storing is None:
                return await self.document(request, wanted, lease)
            data: bytes = await storing.start(self._bring_document, request, wanted, lease)
            return data

        descriptor = target
        parts: tuple[Descriptor, ...] = ()
        for _ in range(limits.INDEX_DEPTH):
            document = parse_image_document(await document_of(descriptor), descriptor.media_type)
            if isinstance(document, Manifest):
                config = parse_image_config(await document_of(document.config))
                failpoint("pull.documents")
                chain = chain_ids(diff_ids_of(document, config))
                return Documents(descriptor, document, config, chain, parts)
            parts += checkpoint_parts(document)
            descriptor = platforms.choose(document.manifests, request.platform)
        raise InvalidArgument("indexes are nested too deeply", why=f"over {limits.INDEX_DEPTH} levels")

    async def document(self, request: PullRequest, descriptor: Descriptor, lease: str) -> bytes:
        """Return a small blob, from the content store or else from the registry into it. Its labels keep
        what it names, whoever brought it.
        """
        async with typed_nursery() as storing:
            data: bytes = await storing.start(self._bring_document, request, descriptor, lease)
        return data

    async def _bring_document(
        self, request: PullRequest, descriptor: Descriptor, lease: str, task_status: trio.TaskStatus[bytes]
    ) -> None:
        """Tell the document as soon as it is here and verified; return once it is kept."""
        ns, digest = request.namespace, descriptor.digest
        async with self._documents_lock.hold(digest), self.pipeline.turns.bringing(digest):
            data: bytes | None = None
            try:
                async with self._content.writer(
                    ns, f"document-{digest}", total=descriptor.size, expected=digest, lease=lease
                ) as writer:
                    data = await (request.source or self._registry).fetch_document(
                        request.reference, descriptor,
                        auth=request.auth, plain_http=request.plain_http, way=request.way,
                    )  # fmt: skip
                    task_status.started(data)
                    if writer.offset:
                        await writer.truncate()
                    labels = {**kept_children(descriptor, data), **origin_label(request)}
                    await writer.write(data)
                    # The image's own record, which is durable, comes after this one.
                    await writer.commit(size=len(data), expected=digest, labels=labels, durable=False)
            except AlreadyExists:
                if data is None:
                    data = await self._content.read(ns, digest, limit=limits.MANIFEST_SIZE)
                    task_status.started(data)
                await self._keep(ns, digest, kept_children(descriptor, data))
                await note_origin(self._content, request, digest)

    async def _keep(self, namespace: str, digest: Digest, labels: dict[str, str]) -> None:
        """Let a document that somebody else brought keep its children from collection."""
        there = (await self._content.info(namespace, digest)).labels if labels else {}
        missing = {key: value for key, value in labels.items() if key not in there}
        if missing:
            await self._db.write(lambda tx: tx.content.update_labels(namespace, digest, missing))

    # ------------------------------------------------------------ layers
    async def bring(
        self,
        request: PullRequest,
        documents: Documents,
        lease: str,
        reservation: Reservation,
        board: list[Layer],
    ) -> list[Layer]:
        """Fetch the layers and unpack those that `request.snapshotter` lacks; `board` shows progress.

        ResourceExhausted before the first byte if the namespace's budget has no room for them.
        """
        blobs = {layer.digest: layer.size for layer in (*documents.manifest.layers, *documents.parts)}
        await self._db.read(lambda tx: tx.budgets.admit_blobs(request.namespace, blobs))
        diff_ids = diff_ids_of(documents.manifest, documents.config)
        layers = [
            Layer(descriptor, diff_id, chain_id)
            for descriptor, diff_id, chain_id in zip(
                documents.manifest.layers, diff_ids, documents.chain, strict=True
            )
        ]
        board.extend(layers)
        backend = self._snapshots.backend(request.snapshotter) if request.snapshotter else None
        there = await self._snapshots.hold(request.namespace, request.snapshotter, documents.chain, lease)
        side_by_side = backend is not None and backend.layer_root("probe") is not None
        for layer in layers:
            if side_by_side and layer.chain_id not in there:
                layer.backend_id = reservation.take()
        await self.fetch_parts(request, documents.parts, lease, board)
        await self.pipeline.fetch_all(request, layers, lease, backend)
        parents: tuple[str, ...] = ()
        for layer in layers if backend and not side_by_side else ():
            if layer.chain_id not in there:
                layer.backend_id = reservation.take()
                await self.pipeline.unpack_on_parent(layer, backend, parents)  # type: ignore[arg-type]  # not None here
            parents = (layer.backend_id or there[layer.chain_id], *parents)
        return layers

    async def fetch_parts(
        self, request: PullRequest, parts: Sequence[Descriptor], lease: str, board: list[Layer]
    ) -> None:
        """Fetch the parts of a checkpoint, which are nothing to unpack."""
        blobs = [Layer(part, None, "") for part in parts]
        board.extend(blobs)
        if blobs:
            await self.pipeline.fetch_all(evolve(request, snapshotter=""), blobs, lease, None)

    # ------------------------------------------------------------ the record
    async def record(
        self,
        namespace: str,
        brought: Sequence[Brought],
        images: Sequence[Image],
        *,
        done_with: str = "",
        keep_labels: bool = True,
    ) -> list[Image]:
        """Let snapshots, their labels and the names appear in one transaction, in which the lease
        `done_with` goes. With `keep_labels`, labels that an image of that name had stay.
        """
        sealed = [await self._seal(namespace, each) for each in brought]
        failpoint("pull.unpacked")
        recorded: list[list[str]] = []

        def record(tx: Transaction) -> list[Image]:
            recorded[:] = [
                _record_snapshots(tx, namespace, each, snapshots)
                for each, snapshots in zip(brought, sealed, strict=True)
            ]
            stored = []
            for image in images:
                old = tx.images.find(namespace, image.name) if keep_labels else None
                labels = {**(old.labels if old else {}), **image.labels}
                stored.append(tx.images.put(namespace, evolve(image, labels=labels)))
            if done_with:
                tx.leases.delete(namespace, done_with)
            return stored

        stored = await self._db.write(record)
        for each, kept in zip(brought, recorded, strict=True):
            each.reservation.keep(*kept)
        failpoint("pull.recorded")
        return stored

    async def _seal(self, namespace: str, brought: Brought) -> Sequence[Snapshot]:
        chain = [
            Sealing(layer.chain_id, layer.backend_id, layer.implied, layer.usage) for layer in brought.layers
        ]
        return await self._snapshots.seal(namespace, brought.snapshotter, chain)


def subject_of(request: PullRequest, name: str, target: Descriptor) -> Subject:
    """Return what the policy is asked of an image that is pulled."""
    return Subject(request.namespace, name, target, request.auth, request.plain_http, request.way)


def _record_snapshots(
    tx: Transaction, namespace: str, brought: Brought, snapshots: Sequence[Snapshot]
) -> list[str]:
    """Record the snapshots that nobody else recorded meanwhile; return the directories they name."""
    recorded = []
    for snapshot in snapshots:
        if tx.snapshots.find(namespace, snapshot.snapshotter, snapshot.key) is None:
            tx.snapshots.create(namespace, snapshot)
            recorded.append(snapshot.backend_id)
    documents = brought.documents
    if brought.snapshotter and documents.chain:
        label = {f"containerd.io/gc.ref.snapshot.{brought.snapshotter}": documents.chain[-1]}
        tx.content.update_labels(namespace, documents.manifest.config.digest, label)
    return recorded


def kept_children(descriptor: Descriptor, data: bytes) -> dict[str, str]:
    """Return the labels that a manifest's or index's children are kept by."""
    if descriptor.media_type in INDEX_TYPES | MANIFEST_TYPES:
        return child_labels(parse_image_document(data, descriptor.media_type))
    return {}
