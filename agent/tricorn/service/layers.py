"""The layers of a pull: fetch ▸ hash ▸ decompress ▸ apply in one pass, layers side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import trio
from attrs import Factory, define, frozen

from tricorn.errors import AlreadyExists, DataLoss, FailedPrecondition, InvalidArgument
from tricorn.failpoints import failpoint
from tricorn.model.checkpoints import PRIVATE, is_secret
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor, Platform, layer_compression
from tricorn.model.records import SnapshotKind, Usage
from tricorn.model.reference import Reference
from tricorn.model.requests import ObjectPhase, ObjectProgress
from tricorn.ports import (
    DEFAULT_WAY,
    Auth,
    BlobSink,
    ContentStore,
    ContentWriter,
    Extraction,
    Extractor,
    ExtractResult,
    Registry,
    RegistryWay,
    Snapshotter,
    WhiteoutFormat,
)
from tricorn.registry.turns import Turns
from tricorn.rules.chains import added_source, source_label
from tricorn.service.locks import KeyedLock
from tricorn.service.nurseries import typed_nursery


@frozen
class PullRequest:
    """What to pull, how to reach it and what to make of it."""

    namespace: str
    reference: Reference
    platform: Platform
    snapshotter: str  # "" leaves the image packed
    labels: Mapping[str, str] = Factory(dict)
    auth: Auth | None = None
    plain_http: bool = False
    way: RegistryWay = DEFAULT_WAY
    source: Registry | None = None  # where missing content comes from; None: the agent's registry client
    lease: str = ""  # one of the client's that shall keep what comes; empty: one of our own, for the pull


@define
class Layer:
    """One layer on its way. `backend_id` names its directory once one is reserved."""

    descriptor: Descriptor
    diff_id: Digest | None  # None: of a document that is no image
    chain_id: str
    backend_id: str = ""
    phase: ObjectPhase = "wait"
    offset: int = 0
    resumed: int = 0  # bytes of `offset` that an earlier pull left
    implied: tuple[str, ...] = ()  # directories that the layer has no entry for
    usage: Usage | None = None  # on disk, where it was counted
    extraction: Extraction | None = None

    def skipped(self) -> None:
        """Its blob is here already."""
        self.phase = "skipped"
        self.offset = self.resumed = self.descriptor.size

    def progress(self) -> ObjectProgress:
        unpacked = self.extraction.consumed if self.extraction else 0
        return ObjectProgress(
            str(self.descriptor.digest), "layer", self.phase, self.descriptor.size, self.offset, unpacked,
            self.resumed,
        )  # fmt: skip


class LayerPipeline:
    """Fetches and unpacks layers. Two pulls that want one blob at the same time transfer it once."""

    def __init__(
        self,
        content: ContentStore,
        registry: Registry,
        extractor: Extractor,
        downloads: int,
        turns: Turns | None = None,  # the registry's own, where other nodes ask for what this one brings
    ) -> None:
        self._content = content
        self._registry = registry
        self._extractor = extractor
        self._downloads = trio.CapacityLimiter(downloads)
        self._blobs = KeyedLock()
        self.turns = turns or Turns()

    async def fetch_all(
        self, request: PullRequest, layers: Sequence[Layer], lease: str, backend: Snapshotter | None
    ) -> None:
        """Bring all blobs, and apply each layer that has a `backend_id` to its own directory. The largest go
        first, so that none of them is left to the end alone.
        """
        async with typed_nursery() as transfers:
            for layer in sorted(layers, key=lambda layer: layer.descriptor.size, reverse=True):
                transfers.start_soon(self._layer, request, layer, lease, backend)
                await trio.lowlevel.checkpoint()  # what starts in one step may run in any order

    async def unpack_on_parent(self, layer: Layer, backend: Snapshotter, parents: tuple[str, ...]) -> None:
        """Apply a layer whose blob is here onto a copy of its parent's tree."""
        await backend.create(layer.backend_id, SnapshotKind.ACTIVE, parents)
        target = backend.mounts(layer.backend_id, SnapshotKind.ACTIVE, parents)[0].source
        await self._extract(layer, target, "apply")
        layer.phase = "done"

    async def _layer(
        self, request: PullRequest, layer: Layer, lease: str, backend: Snapshotter | None
    ) -> None:
        digest = layer.descriptor.digest
        async with self._blobs.hold(digest), self._downloads, self.turns.bringing(digest):
            target = ""
            if layer.backend_id and backend:
                await backend.create(layer.backend_id, SnapshotKind.ACTIVE, ())
                target = backend.layer_root(layer.backend_id) or ""
            try:
                async with self._content.writer(
                    request.namespace, _ref(digest), total=layer.descriptor.size, expected=digest, lease=lease
                ) as writer:
                    await self._download(request, layer, writer, target)
            except AlreadyExists:
                layer.skipped()
                await note_origin(self._content, request, digest)
                if target:
                    await self._extract_known(layer, target)
                    layer.phase = "done"
                return
            except WrongBytes:  # drop them, so that the next pull starts afresh
                self.turns.mistrust(digest)
                await self._content.abort(request.namespace, _ref(digest))
                raise
        layer.phase = "done"

    async def _extract_known(self, layer: Layer, target: str) -> None:
        """Unpack a blob that was here before. If that fails, its file may be damaged."""
        try:
            await self._extract(layer, target, "overlay")
        except (DataLoss, InvalidArgument):
            self._content.doubt(layer.descriptor.digest)
            raise

    async def _download(self, request: PullRequest, layer: Layer, writer: ContentWriter, target: str) -> None:
        async with AsyncExitStack() as stack:
            if target:
                compression = layer_compression(layer.descriptor.media_type)
                layer.extraction = await stack.enter_async_context(
                    self._extractor.start(writer.path, target, compression, size=layer.descriptor.size)
                )
            layer.phase = "download"
            await (request.source or self._registry).fetch(
                request.reference, layer.descriptor, _Tee(writer, layer),
                auth=request.auth, plain_http=request.plain_http, way=request.way,
            )  # fmt: skip
            failpoint("pull.fetched")
            layer.phase = "verify"
            labels = origin_label(request)
            if layer.diff_id:
                labels["containerd.io/uncompressed"] = str(layer.diff_id)
            if is_secret(layer.descriptor.media_type):
                labels[PRIVATE] = "true"
            await _commit(request, layer.descriptor, writer, labels)
            failpoint("pull.committed")
            if layer.extraction:
                layer.phase = "unpack"
                _verify(layer, await layer.extraction.finish(layer.descriptor.size))

    async def _extract(self, layer: Layer, target: str, form: WhiteoutFormat) -> None:
        source = self._content.blob_path(layer.descriptor.digest)
        compression = layer_compression(layer.descriptor.media_type)
        size = layer.descriptor.size
        async with self._extractor.start(source, target, compression, form, size=size) as extraction:
            layer.extraction, layer.phase = extraction, "unpack"
            _verify(layer, await extraction.finish(size))


async def _commit(
    request: PullRequest, descriptor: Descriptor, writer: ContentWriter, labels: Mapping[str, str]
) -> None:
    try:
        await writer.commit(size=descriptor.size, expected=descriptor.digest, labels=labels)
    except FailedPrecondition as error:
        raise WrongBytes(
            f"layer {descriptor.digest} of {request.reference} does not match its descriptor",
            why=str(error),
            hint="the registry, or something on the way to it, serves other bytes",
        ) from None


class WrongBytes(DataLoss):
    """What came isn't what its digest says."""


class _Tee:
    """A sink that tells the layer's extraction how far its source file has grown."""

    def __init__(self, writer: BlobSink, layer: Layer) -> None:
        self._writer = writer
        self._layer = layer
        layer.resumed = writer.offset
        self._tell()

    @property
    def offset(self) -> int:
        return self._writer.offset

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self._writer.write(data)
        self._tell()

    def _tell(self) -> None:
        self._layer.offset = self._writer.offset
        if self._layer.extraction:
            self._layer.extraction.grew(self._writer.offset)


def origin_label(request: PullRequest) -> dict[str, str]:
    """Return the label that tells which repository content came from; none for what came otherwise."""
    return source_label(request.reference) if request.source is None else {}


async def note_origin(content: ContentStore, request: PullRequest, digest: Digest) -> None:
    """Let a blob that is here already know that the request's repository has it, too."""
    if request.source is None:
        labels = (await content.info(request.namespace, digest)).labels
        if label := added_source(labels, request.reference):
            await content.update_labels(request.namespace, digest, label)


def _ref(digest: Digest) -> str:
    return f"layer-{digest}"


def _verify(layer: Layer, result: ExtractResult) -> None:
    layer.implied, layer.usage = result.implied, result.usage
    if result.diff_id != layer.diff_id:
        raise DataLoss(
            f"layer {layer.descriptor.digest} unpacks to other bytes than its image says",
            why=f"diff id {result.diff_id}, the config says {layer.diff_id}",
            hint="the image is malformed; rebuild it",
        )
