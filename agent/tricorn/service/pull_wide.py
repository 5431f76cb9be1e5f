"""Pulls for several platforms at once, or for all: content of what is asked for, unpacked as asked for.

Everything runs side by side with the limits of the pipeline; one transaction records the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import structlog
import trio
from attrs import define, evolve, field, frozen

from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest
from tricorn.model.oci import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    Index,
    Manifest,
    Platform,
    parse_image_config,
    parse_image_document,
)
from tricorn.model.records import Image
from tricorn.rules import platforms
from tricorn.rules.chains import diff_ids_of
from tricorn.rules.checkpoint_index import checkpoint_parts
from tricorn.service.layers import Layer, PullRequest
from tricorn.service.nurseries import typed_nursery
from tricorn.service.progress import Reporter
from tricorn.service.pull import Brought, Documents, Puller, subject_of
from tricorn.service.snapshots import Reservation, SnapshotService

log = structlog.get_logger(__name__)


@frozen
class Unpack:
    """Unpack what suits `platform` for `snapshotter`."""

    platform: Platform
    snapshotter: str


@frozen
class Wide:
    """What of an image to bring. No `platforms`: all of them. With `all_metadata`, manifests and configs of
    the others come, too, without their layers. A `limit` over 0 bounds how many of an index come when no
    platform is named. `names` are the images to record for the target.
    """

    request: PullRequest
    platforms: Sequence[Platform]
    unpacks: Sequence[Unpack]
    names: Callable[[Descriptor], Sequence[Image]]
    all_metadata: bool = False
    limit: int = 0


Seen = Callable[[Descriptor, Descriptor | None], None]  # a descriptor and what names it


@define
class _Work:
    """One wide pull under way."""

    wide: Wide
    lease: str
    seen: Seen
    stack: AsyncExitStack
    board: list[Layer] = field(factory=list)
    brought: list[Brought] = field(factory=list)
    started: set[Digest] = field(factory=set)  # manifests whose blobs are on their way
    budget: platforms.IndexBudget = field(factory=platforms.IndexBudget)


class WidePuller:
    """Brings images for any number of platforms, with the parts of the one that brings them for one."""

    def __init__(self, puller: Puller, snapshots: SnapshotService) -> None:
        self._puller = puller
        self._snapshots = snapshots

    async def pull(
        self, wide: Wide, target: Descriptor, reporter: Reporter, seen: Seen = lambda *_: None
    ) -> list[Image]:
        """Bring `target`; return the recorded images. `seen` learns of each descriptor once it is known.

        Raises NotFound when the image has nothing for a platform, and what `Puller.pull` raises.
        """
        request = wide.request
        for name in _policy_names(wide, target):
            await self._puller.gate.require(subject_of(request, name, target), fresh=True)
        await self._puller.admit(request.namespace, [image.name for image in wide.names(target)])
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._puller.image_lock(request, target))
            lease = await stack.enter_async_context(self._puller.leased(request))
            work = _Work(wide, lease, _both(reporter.named, seen), stack)
            reporter.watch(work.board)
            reporter.report("unpack" if request.source else "download")
            await self._bring(work, target)
            reporter.settle()
            reporter.report("commit")
            images = await self._puller.record(
                request.namespace, work.brought, wide.names(target),
                done_with="" if request.lease else lease, keep_labels=False,
            )  # fmt: skip
        log.info("image transferred", namespace=request.namespace, digest=str(target.digest))
        return images

    async def _bring(self, work: _Work, target: Descriptor) -> None:
        work.seen(target, None)
        planned = [await self._plan(work, target, unpack) for unpack in work.wide.unpacks]
        async with typed_nursery() as nursery:
            for unpack, documents, reservation in planned:
                nursery.start_soon(self._unpacked, work, unpack, documents, reservation)
            for platform in work.wide.platforms:
                if platform not in {unpack.platform for unpack in work.wide.unpacks}:
                    nursery.start_soon(self._fetched, work, target, platform)
            if work.wide.all_metadata or not work.wide.platforms:
                nursery.start_soon(self._others, work, target, nursery)

    async def _plan(
        self, work: _Work, target: Descriptor, unpack: Unpack
    ) -> tuple[Unpack, Documents, Reservation]:
        """Choose what to unpack before anything is fetched: its layers are unpacked while they come."""
        documents = await self._chosen(work, target, unpack.platform)
        work.started.add(documents.descriptor.digest)
        reservation = await work.stack.enter_async_context(self._snapshots.reservation(unpack.snapshotter))
        return unpack, documents, reservation

    async def _chosen(self, work: _Work, target: Descriptor, platform: Platform) -> Documents:
        request = evolve(work.wide.request, platform=platform)
        documents = await self._puller.documents(request, target, work.lease)
        if documents.descriptor.digest != target.digest:
            work.seen(documents.descriptor, target)
        for child in (documents.manifest.config, *documents.manifest.layers):
            work.seen(child, documents.descriptor)
        return documents

    async def _unpacked(
        self, work: _Work, unpack: Unpack, documents: Documents, reservation: Reservation
    ) -> None:
        request = evolve(work.wide.request, platform=unpack.platform, snapshotter=unpack.snapshotter)
        layers = await self._puller.bring(request, documents, work.lease, reservation, work.board)
        work.brought.append(Brought(unpack.snapshotter, documents, layers, reservation))

    async def _fetched(self, work: _Work, target: Descriptor, platform: Platform) -> None:
        documents = await self._chosen(work, target, platform)
        await self._blobs(work, documents.descriptor, documents.manifest)

    async def _others(self, work: _Work, target: Descriptor, nursery: trio.Nursery, depth: int = 0) -> None:
        """Go through the whole tree: documents always, blobs if all platforms are asked for."""
        if not work.budget.admit(target, depth):
            return
        data = await self._puller.document(work.wide.request, target, work.lease)
        document = parse_image_document(data, target.media_type)
        children = document.manifests if isinstance(document, Index) else (document.config,)
        if work.wide.limit and not work.wide.platforms:
            children = children[: work.wide.limit]
        for child in children:
            work.seen(child, target)
        if isinstance(document, Index):
            for child in children:
                if child.media_type in INDEX_TYPES | MANIFEST_TYPES:
                    nursery.start_soon(self._others, work, child, nursery, depth + 1)
            parts = () if work.wide.platforms else checkpoint_parts(document)
            await self._puller.fetch_parts(work.wide.request, parts, work.lease, work.board)
        elif work.wide.platforms:
            await self._puller.document(work.wide.request, document.config, work.lease)
        else:
            await self._blobs(work, target, document)

    async def _blobs(self, work: _Work, descriptor: Descriptor, manifest: Manifest) -> None:
        """Fetch a manifest's config and layers, once."""
        if descriptor.digest in work.started:
            return
        work.started.add(descriptor.digest)
        config = await self._puller.document(work.wide.request, manifest.config, work.lease)
        diff_ids = _diff_ids(manifest, config)
        layers = [Layer(layer, diff_ids[i], "") for i, layer in enumerate(manifest.layers)]
        for layer in layers:
            work.seen(layer.descriptor, descriptor)
        work.board.extend(layers)
        request = evolve(work.wide.request, snapshotter="")
        await self._puller.pipeline.fetch_all(request, layers, work.lease, None)


def _both(first: Seen, second: Seen) -> Seen:
    def seen(descriptor: Descriptor, parent: Descriptor | None) -> None:
        first(descriptor, parent)
        second(descriptor, parent)

    return seen


def _policy_names(wide: Wide, target: Descriptor) -> list[str]:
    """The names that a policy has to allow: where the image comes from, and all that it will have here."""
    names = [] if wide.request.source else [str(wide.request.reference)]
    names += [image.name for image in wide.names(target)]
    return list(dict.fromkeys(names)) or [f"unnamed.invalid/archive@{target.digest}"]


def _diff_ids(manifest: Manifest, config: bytes) -> Sequence[Digest | None]:
    """The diff ids of an image's layers; other things than images have none."""
    try:
        return diff_ids_of(manifest, parse_image_config(config))
    except InvalidArgument:
        return [None] * len(manifest.layers)
