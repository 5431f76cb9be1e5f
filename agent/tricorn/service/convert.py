"""Conversion of images: OCI's and Docker's form, layers compressed otherwise, fewer platforms.

The layers' uncompressed bytes stay, and so do the config and the snapshots: a converted image is unpacked
wherever its source is.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from attrs import define, field

from tricorn.errors import DataLoss
from tricorn.failpoints import failpoint
from tricorn.model.ids import Digest
from tricorn.model.image_requests import ConversionResult, ImageConversion
from tricorn.model.oci import Descriptor, Index, Manifest, Platform, layer_compression, parse_image_config
from tricorn.model.records import Image
from tricorn.model.reference import Reference
from tricorn.ports import LayerRepacker
from tricorn.rules import conversion, platforms
from tricorn.rules.chains import diff_ids_of
from tricorn.rules.conversion import Wanted
from tricorn.rules.media_types import layer_type
from tricorn.service.held_lease import held_lease
from tricorn.service.image_tree import Choice, Node, only, read_document, walk
from tricorn.service.made_content import ContentMaker
from tricorn.service.nurseries import typed_nursery
from tricorn.service.policy import PolicyGate
from tricorn.service.progress import Item, Reporter
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)


@define
class _Repack:
    """One layer on its way to another compression."""

    source: Descriptor
    diff_id: Digest
    item: Item
    made: Descriptor | None = None


@define
class _Work:
    namespace: str
    wanted: Wanted
    make: ContentMaker
    report: Reporter
    layers: dict[Digest, _Repack] = field(factory=dict)
    became: dict[Digest, Descriptor] = field(factory=dict)
    warnings: list[str] = field(factory=list)


class Converter:
    """Makes images out of images that are in the namespace."""

    def __init__(
        self, db: Database, content: ContentStore, repacker: LayerRepacker, gate: PolicyGate
    ) -> None:
        self._db = db
        self._content = content
        self._repacker = repacker
        self._gate = gate

    async def convert(
        self, namespace: str, image: Image, request: ImageConversion, report: Reporter
    ) -> ConversionResult:
        """Make the image that `request` describes, and name it; a name that is taken is moved.

        The same source gives the same digest. NotFound for content that isn't here, and for platforms that
        the image doesn't have; FailedPrecondition for what the form can't have; DataLoss for a layer whose
        bytes aren't what the image says.
        """
        name = str(Reference.parse(request.reference, "reference"))
        wanted = Wanted(request.form, _compression(request.compression))
        chosen = [platforms.parse(text, Platform(), "platforms") for text in request.platforms]
        held = (str(image.target.digest),)
        async with held_lease(self._db, namespace, "convert", content=held) as lease:
            nodes = await walk(self._content, namespace, image.target, _images(only(chosen)))
            work = _Work(namespace, wanted, ContentMaker(self._content, namespace, lease), report)
            await self._repack(work, nodes)
            keep = {node.descriptor.digest for node in nodes}
            for node in nodes:
                await self._document(work, node, keep if chosen else None)
            target = work.became[image.target.digest]
            await self._gate.require_all(namespace, [Image(name, target)])
            failpoint("convert.made")

            def record(tx: Transaction) -> None:
                tx.images.put(namespace, Image(name, target))
                tx.leases.delete(namespace, lease)

            await self._db.write(record)
        log.info("image converted", namespace=namespace, image=name, source=image.name)
        return ConversionResult(
            name, str(target.digest), target.media_type, len(work.layers), tuple(dict.fromkeys(work.warnings))
        )

    # ------------------------------------------------------------ layers
    async def _repack(self, work: _Work, nodes: Sequence[Node]) -> None:
        """Compress layers otherwise, each once, side by side as far as the repacker lets them."""
        for node in nodes:
            if isinstance(node.document, Manifest):
                positions = conversion.to_repack(node.document, work.wanted)
                if positions:
                    diff_ids = await self._diff_ids(work.namespace, node.document)
                    for position in positions:
                        layer = node.document.layers[position]
                        repack = _Repack(layer, diff_ids[position], work.report.item(layer))
                        work.layers.setdefault(layer.digest, repack)
        work.report.report("convert")
        async with typed_nursery() as nursery:
            for repack in work.layers.values():
                nursery.start_soon(self._layer, work, repack)

    async def _diff_ids(self, namespace: str, manifest: Manifest) -> Sequence[Digest]:
        config = await read_document(self._content, namespace, manifest.config)
        return diff_ids_of(manifest, parse_image_config(config))

    async def _layer(self, work: _Work, repack: _Repack) -> None:
        source = repack.source
        compression = work.wanted.compression or ""
        await self._content.info(work.namespace, source.digest)
        path, declared = self._content.blob_path(source.digest), layer_compression(source.media_type)
        async with self._repacker.start(path, declared, compression) as running:
            repack.item.phase = "write"

            def progress(_: int) -> None:
                repack.item.offset = running.consumed

            made = await work.make.layer(running, packed=bool(compression), progress=progress)
        if made.result.diff_id != repack.diff_id:
            raise DataLoss(
                f"layer {source.digest} unpacks to other bytes than its image says",
                why=f"diff id {made.result.diff_id}, the config says {repack.diff_id}",
                hint="pull the image again",
            )
        media_type = layer_type(source.media_type, work.wanted.form, compression)
        repack.made = Descriptor(media_type, made.digest, made.size)
        repack.item.finish()

    # ------------------------------------------------------------ documents
    async def _document(self, work: _Work, node: Node, keep: set[Digest] | None) -> None:
        """Store what a document becomes; its children have been converted before it."""
        descriptor = node.descriptor
        if isinstance(node.document, Manifest):
            packed = {digest: layer.made for digest, layer in work.layers.items() if layer.made}
            new = conversion.convert_manifest(node.data, descriptor, node.document, work.wanted, packed)
        else:
            new = conversion.convert_index(
                node.data, descriptor, work.wanted, lambda digest: keep is None or digest in keep, work.became
            )
        work.warnings += new.warnings
        work.became[descriptor.digest] = await work.make.document(new.media_type, new.data)


def _compression(text: str) -> str | None:
    return None if not text else "" if text == "none" else text


def _images(choice: Choice) -> Choice:
    """Leave out of a choice what only speaks of images: it is kept or dropped, never converted."""

    def choose(index: Index) -> Sequence[Descriptor]:
        return [entry for entry in choice(index) if not conversion.is_attestation(entry)]

    return choose
