"""Whether images are all there, and what they take."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import trio
from attrs import frozen

from tricorn.model.ids import Digest
from tricorn.model.image_requests import ImageCheck, ImageUsage, ImageUsages, MissingBlob
from tricorn.model.oci import Descriptor, Platform
from tricorn.model.records import Image, Snapshot, SnapshotKind, Usage
from tricorn.rules import platforms
from tricorn.service.catalog import Catalog
from tricorn.service.image_parts import ImageParts, parts_of
from tricorn.service.image_tree import everything, only
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

_LIMITER: Final = trio.CapacityLimiter(2)


@frozen
class _Held:
    """What one name holds: sizes of blobs by digest, snapshots by snapshotter and key."""

    image: Image
    blobs: Mapping[str, int]
    snapshots: Mapping[tuple[str, str], Usage]


class ImageCare:
    def __init__(self, db: Database, content: ContentStore, catalog: Catalog, machine: Platform) -> None:
        self._db = db
        self._content = content
        self._catalog = catalog
        self._machine = machine

    # ------------------------------------------------------------ check
    async def check(
        self, namespace: str, names: Sequence[str] = (), *, platform: str = "", all_platforms: bool = False
    ) -> list[ImageCheck]:
        """Tell of images (all of the namespace's without names) whether they are whole: for the node's
        platform, another, or all that their indexes name. Nothing is read but documents. NotFound.
        """
        wanted = platforms.parse(platform, self._machine)
        choice = everything if all_platforms else only([wanted])
        images = await self._images(namespace, names)
        return [
            await self._checked(
                namespace, image, await parts_of(self._content, namespace, image.target, choice)
            )
            for image in images
        ]

    async def _images(self, namespace: str, names: Sequence[str]) -> list[Image]:
        if not names:
            return await self._db.read(lambda tx: tx.images.list(namespace))
        return [await self._catalog.find(namespace, name) for name in dict.fromkeys(names)]

    async def _checked(self, namespace: str, image: Image, parts: ImageParts) -> ImageCheck:
        def read(tx: Transaction) -> tuple[set[Digest], set[Digest], list[Snapshot]]:
            there = {digest for digest in parts.blobs if tx.content.find(namespace, digest)}
            damaged = {digest for digest in parts.blobs if tx.quarantine.misses(namespace, digest)}
            return there, damaged, tx.snapshots.list(namespace, "", ())

        recorded, damaged, snapshots = await self._db.read(read)
        found = [parts.blobs[digest] for digest in recorded]
        lost = await trio.to_thread.run_sync(self._lost, found, limiter=_LIMITER)
        missing = [
            _missing(blob, "quarantined" if digest in damaged else "missing")
            for digest, blob in parts.blobs.items()
            if digest not in recorded
        ]
        missing += [_missing(blob, "lost") for blob in lost]
        tops = {chain[-1] for chain in parts.chains if chain}
        unpacked = {
            each.snapshotter for each in snapshots if each.kind is SnapshotKind.COMMITTED and each.key in tops
        }
        absent = sum(blob.size for blob in missing)
        size = sum(blob.size for blob in parts.blobs.values())
        return ImageCheck(
            image.name, str(image.target.digest), image.target.media_type,
            complete=not missing and not parts.problem, blobs=len(parts.blobs),
            present=len(parts.blobs) - len(missing), size=size, present_size=size - absent,
            missing=tuple(missing), unpacked=tuple(sorted(unpacked)), problem=parts.problem,
        )  # fmt: skip

    def _lost(self, blobs: Sequence[Descriptor]) -> list[Descriptor]:
        """Return the blobs whose files are not there, or of another size than was said."""
        lost = []
        for blob in blobs:
            try:
                size = os.stat(self._content.blob_path(blob.digest)).st_size
            except OSError:
                size = -1
            if size != blob.size:
                lost.append(blob)
        return lost

    # ------------------------------------------------------------ usage
    async def usage(self, namespace: str, names: Sequence[str] = ()) -> ImageUsages:
        """Tell what images take on the node (all of the namespace's without names), and together."""
        held = await self._held(namespace)
        chosen = {image.name for image in await self._images(namespace, names)}
        blobs = Counter(digest for each in held for digest in each.blobs)
        layers = Counter(key for each in held for key in each.snapshots)
        shown = [each for each in held if each.image.name in chosen]
        content = {digest: size for each in shown for digest, size in each.blobs.items()}
        snapshots = {key: usage for each in shown for key, usage in each.snapshots.items()}
        return ImageUsages(
            tuple(_usage(each, blobs, layers) for each in shown),
            sum(content.values()), sum(usage.size for usage in snapshots.values()),
        )  # fmt: skip

    async def _held(self, namespace: str) -> list[_Held]:
        images = await self._images(namespace, ())
        parts = [await parts_of(self._content, namespace, image.target) for image in images]
        digests = {digest for each in parts for digest in each.blobs}

        def read(tx: Transaction) -> tuple[dict[str, int], list[Snapshot]]:
            found = {digest: tx.content.find(namespace, digest) for digest in digests}
            sizes = {str(digest): info.size for digest, info in found.items() if info}
            return sizes, tx.snapshots.list(namespace, "", ())

        sizes, snapshots = await self._db.read(read)
        committed: dict[str, list[Snapshot]] = {}
        for snapshot in snapshots:
            if snapshot.kind is SnapshotKind.COMMITTED:
                committed.setdefault(snapshot.key, []).append(snapshot)
        return [
            _Held(
                image,
                {str(digest): sizes[str(digest)] for digest in each.blobs if str(digest) in sizes},
                {
                    (snapshot.snapshotter, key): snapshot.usage
                    for chain in each.chains for key in chain for snapshot in committed.get(key, ())
                },
            )
            for image, each in zip(images, parts, strict=True)
        ]  # fmt: skip


def _missing(blob: Descriptor, state: Literal["missing", "lost", "quarantined"]) -> MissingBlob:
    return MissingBlob(str(blob.digest), blob.size, blob.media_type, state)


def _usage(held: _Held, blobs: Counter[str], layers: Counter[tuple[str, str]]) -> ImageUsage:
    content = sum(held.blobs.values())
    unique = sum(size for digest, size in held.blobs.items() if blobs[digest] == 1)
    snapshots = sum(usage.size for usage in held.snapshots.values())
    own = sum(usage.size for key, usage in held.snapshots.items() if layers[key] == 1)
    return ImageUsage(
        held.image.name, str(held.image.target.digest), content, unique, content - unique, snapshots, own,
        snapshots - own, sum(usage.inodes for usage in held.snapshots.values()),
    )  # fmt: skip
