"""Which image a snapshot stands on: found by the layers, whatever its name has become."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from tricorn import limits
from tricorn.errors import FailedPrecondition, NotFound, TricornError
from tricorn.model.ids import Digest
from tricorn.model.oci import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    load_document,
    parse_image_config,
    parse_image_document,
)
from tricorn.model.records import Container, Image
from tricorn.rules.chains import chain_ids, diff_ids_of
from tricorn.rules.conversion import is_image
from tricorn.rules.platforms import IndexBudget
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction


@frozen
class BaseImage:
    """An image, and how many snapshots lie between its top layer's and what stands on it."""

    manifest: Manifest
    config: Mapping[str, Any]
    above: int


class BaseImages:
    def __init__(self, db: Database, content: ContentStore) -> None:
        self._db = db
        self._content = content

    async def of(self, namespace: str, container: Container, ancestors: Sequence[str]) -> BaseImage:
        """Return the image whose top layer is one of `ancestors`, the keys of the snapshots below the
        container's, nearest first.

        FailedPrecondition when no image of the namespace fits: the one it was made from is gone.
        """
        best: BaseImage | None = None
        order = {key: position for position, key in enumerate(ancestors)}
        async for manifest, raw, top in self._candidates(namespace, container):
            position = order.get(top)
            if position is not None and (best is None or position < best.above):
                best = BaseImage(manifest, raw, position)
            if best is not None and not best.above:
                break
        if best is None:
            raise FailedPrecondition(
                f"the image that container {container.id} was made from is not here any more",
                why=f"no image of namespace {namespace} has its layers",
                hint=f"bring it back: `tricorn -n {namespace} image pull {container.image or 'IMAGE'}`",
            )
        return best

    async def _candidates(
        self, namespace: str, container: Container
    ) -> AsyncIterator[tuple[Manifest, Mapping[str, Any], str]]:
        """Yield images with their configs and chain ids, the container's own first."""
        budget = IndexBudget(nodes=16 * limits.INDEX_NODES, bytes=16 * limits.INDEX_BYTES)
        for target in await self._targets(namespace, container):
            async for manifest in self._manifests(namespace, target, budget, 0):
                try:
                    data = await self._content.read(
                        namespace, manifest.config.digest, limit=limits.MANIFEST_SIZE
                    )
                    chain = chain_ids(diff_ids_of(manifest, parse_image_config(data)))
                except TricornError:
                    continue
                if chain:
                    yield manifest, load_document(data, "image config"), chain[-1]

    async def _targets(self, namespace: str, container: Container) -> list[Descriptor]:
        def read(tx: Transaction) -> list[Image]:
            return tx.images.list(namespace)

        images = await self._db.read(read)
        images.sort(key=lambda image: image.name != container.image)
        targets = [image.target for image in images]
        if container.image_digest:
            own = await self._described(namespace, container.image_digest)
            targets[:0] = [own] if own else []
        return targets

    async def _described(self, namespace: str, digest: str) -> Descriptor | None:
        """Return the descriptor of a document that nothing names any more but the container."""
        try:
            data = await self._content.read(namespace, Digest.parse(digest), limit=limits.MANIFEST_SIZE)
            raw = json.loads(data)
        except (TricornError, ValueError):
            return None
        guess = OCI_INDEX if "manifests" in raw else OCI_MANIFEST
        return Descriptor(str(raw.get("mediaType") or guess), Digest.parse(digest), len(data))

    async def _manifests(
        self, namespace: str, target: Descriptor, budget: IndexBudget, depth: int
    ) -> AsyncIterator[Manifest]:
        """Yield the images below a target whose documents are here."""
        if target.media_type not in INDEX_TYPES | MANIFEST_TYPES or not budget.admit(target, depth):
            return
        try:
            data = await self._content.read(namespace, target.digest, limit=limits.MANIFEST_SIZE)
            document = parse_image_document(data, target.media_type)
        except (NotFound, TricornError):
            return
        if isinstance(document, Index):
            for entry in document.manifests:
                async for manifest in self._manifests(namespace, entry, budget, depth + 1):
                    yield manifest
        elif is_image(document):
            yield document
