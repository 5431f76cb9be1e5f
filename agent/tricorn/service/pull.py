"""Pull and unpack: resolve → documents → layers side by side → one transaction.

Blobs are recorded as soon as each is verified, under a lease, so that an interrupted pull goes on where
it stopped; snapshots, labels and the image's name appear together, in one transaction, or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import structlog
import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import AlreadyExists, InvalidArgument, NotFound
from tricorn.failpoints import failpoint
from tricorn.model.oci import (
    INDEX_TYPES,
    Descriptor,
    ImageConfig,
    Manifest,
    parse_image_config,
    parse_image_document,
)
from tricorn.model.records import Image
from tricorn.ports import Clock, ContentStore, Registry
from tricorn.rules import platforms
from tricorn.rules.chains import chain_ids, child_labels, diff_ids_of, source_label
from tricorn.service.layers import Layer, LayerPipeline, PullRequest, report_layers
from tricorn.service.locks import KeyedLock
from tricorn.service.nurseries import typed_nursery
from tricorn.service.operations import Reporter
from tricorn.service.snapshots import Reservation, Sealing, SnapshotService
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)


@frozen
class Documents:
    """An image's verified documents; `chain` holds the chain ids, one a layer."""

    manifest: Manifest
    config: ImageConfig
    chain: tuple[str, ...]


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
    ) -> None:
        self._db = db
        self._content = content
        self._registry = registry
        self._pipeline = pipeline
        self._snapshots = snapshots
        self._clock = clock
        self._images = KeyedLock()
        self._documents_lock = KeyedLock()

    async def resolve(self, request: PullRequest) -> Descriptor:
        """Ask the registry what the reference names now."""
        return await self._registry.resolve(
            request.reference, auth=request.auth, plain_http=request.plain_http
        )

    async def pull(self, request: PullRequest, target: Descriptor, reporter: Reporter) -> Image:
        """Bring `target` and what it needs for the platform; return the recorded image."""
        async with self._images.hold(request.namespace, target.digest):
            lease = await self._lease(request.namespace)
            try:
                reporter.report("resolve", f"{request.reference} is {target.digest}")
                documents = await self._documents(request, target, lease)
                async with self._snapshots.reservation(request.snapshotter) as reservation:
                    layers = await self._layers(request, documents, lease, reporter, reservation)
                    reporter.report("commit", layers=[layer.progress() for layer in layers])
                    image = await self._record(request, target, documents, layers, lease, reservation)
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
                    await self._release(request.namespace, lease)
        log.info("image pulled", namespace=request.namespace, image=image.name, digest=str(target.digest))
        return image

    async def _lease(self, namespace: str) -> str:
        now = self._clock.now()
        expire = now + timedelta(seconds=limits.LEASE_DEFAULT_SECONDS)
        lease = f"pull-{uuid4().hex[:12]}"
        labels = {"containerd.io/gc.expire": expire.isoformat()}
        await self._db.write(lambda tx: tx.leases.create(namespace, lease, labels))
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
    async def _documents(self, request: PullRequest, target: Descriptor, lease: str) -> Documents:
        descriptor = target
        for _ in range(limits.INDEX_DEPTH):
            document = parse_image_document(
                await self._bytes(request, descriptor, lease), descriptor.media_type
            )
            if isinstance(document, Manifest):
                config = parse_image_config(await self._bytes(request, document.config, lease))
                failpoint("pull.documents")
                return Documents(document, config, chain_ids(diff_ids_of(document, config)))
            descriptor = platforms.choose(document.manifests, request.platform)
        raise InvalidArgument("indexes are nested too deeply", why=f"over {limits.INDEX_DEPTH} levels")

    async def _bytes(self, request: PullRequest, descriptor: Descriptor, lease: str) -> bytes:
        """Return a small blob, from the content store or else from the registry into it."""
        ns, digest = request.namespace, descriptor.digest
        async with self._documents_lock.hold(digest):
            try:
                async with self._content.writer(
                    ns, f"document-{digest}", total=descriptor.size, expected=digest, lease=lease
                ) as writer:
                    data = await self._registry.fetch_document(
                        request.reference, descriptor, auth=request.auth, plain_http=request.plain_http
                    )
                    if writer.offset:
                        await writer.truncate()
                    labels = {**_keep_children(descriptor, data), **source_label(request.reference)}
                    await writer.write(data)
                    await writer.commit(size=len(data), expected=digest, labels=labels)
                    return data
            except AlreadyExists:
                return await self._content.read(ns, digest, limit=limits.MANIFEST_SIZE)

    # ------------------------------------------------------------ layers
    async def _layers(
        self,
        request: PullRequest,
        documents: Documents,
        lease: str,
        reporter: Reporter,
        reservation: Reservation,
    ) -> list[Layer]:
        diff_ids = diff_ids_of(documents.manifest, documents.config)
        layers = [
            Layer(descriptor, diff_id, chain_id)
            for descriptor, diff_id, chain_id in zip(
                documents.manifest.layers, diff_ids, documents.chain, strict=True
            )
        ]
        backend = self._snapshots.backend(request.snapshotter) if request.snapshotter else None
        there = await self._snapshots.committed(request.namespace, request.snapshotter, documents.chain)
        side_by_side = backend is not None and backend.layer_root("probe") is not None
        for layer in layers:
            if side_by_side and layer.chain_id not in there:
                layer.backend_id = reservation.take()
        async with typed_nursery() as nursery:
            nursery.start_soon(report_layers, layers, reporter)
            await self._pipeline.fetch_all(request, layers, lease, backend)
            parents: tuple[str, ...] = ()
            for layer in layers if backend and not side_by_side else ():
                if layer.chain_id not in there:
                    layer.backend_id = reservation.take()
                    await self._pipeline.unpack_on_parent(layer, backend, parents)  # type: ignore[arg-type]  # not None here
                parents = (layer.backend_id or there[layer.chain_id], *parents)
            nursery.cancel_scope.cancel()
        return layers

    # ------------------------------------------------------------ the record
    async def _record(
        self,
        request: PullRequest,
        target: Descriptor,
        documents: Documents,
        layers: Sequence[Layer],
        lease: str,
        reservation: Reservation,
    ) -> Image:
        ns = request.namespace
        chain = [Sealing(layer.chain_id, layer.backend_id, layer.implied) for layer in layers]
        snapshots = await self._snapshots.seal(ns, request.snapshotter, chain)
        failpoint("pull.unpacked")
        name = str(request.reference)
        recorded: list[str] = []

        def record(tx: Transaction) -> Image:
            for snapshot in snapshots:
                if tx.snapshots.find(ns, snapshot.snapshotter, snapshot.key) is None:
                    tx.snapshots.create(ns, snapshot)
                    recorded.append(snapshot.backend_id)
            if request.snapshotter and documents.chain:
                label = {f"containerd.io/gc.ref.snapshot.{request.snapshotter}": documents.chain[-1]}
                tx.content.update_labels(ns, documents.manifest.config.digest, label)
            old = tx.images.find(ns, name)
            labels = {**(old.labels if old else {}), **request.labels}
            stored = tx.images.put(ns, Image(name, target, labels))
            tx.leases.delete(ns, lease)
            return stored

        stored = await self._db.write(record)
        reservation.keep(*recorded)
        failpoint("pull.recorded")
        return stored


def _keep_children(descriptor: Descriptor, data: bytes) -> dict[str, str]:
    if descriptor.media_type in INDEX_TYPES or descriptor.media_type.endswith(
        ("manifest.v1+json", "manifest.v2+json")
    ):
        return child_labels(parse_image_document(data, descriptor.media_type))
    return {}
