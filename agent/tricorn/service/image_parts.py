"""What an image consists of, as far as that can be told from what is here."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field

from tricorn import limits
from tricorn.errors import NotFound, TricornError
from tricorn.model.ids import Digest
from tricorn.model.oci import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    Index,
    Manifest,
    parse_image_config,
    parse_image_document,
)
from tricorn.ports import ContentStore
from tricorn.rules.chains import chain_ids, diff_ids_of, nondistributable
from tricorn.rules.conversion import is_image
from tricorn.rules.platforms import IndexBudget
from tricorn.service.image_tree import Choice, everything


@define
class ImageParts:
    """Descriptors by digest, whether they are here or not; `chains` are the chain ids of each image that can
    be read. `problem` says what kept the rest from being read, "" for nothing.
    """

    blobs: dict[Digest, Descriptor] = field(factory=dict)
    chains: list[Sequence[str]] = field(factory=list)
    problem: str = ""


async def parts_of(
    content: ContentStore, namespace: str, target: Descriptor, choice: Choice = everything
) -> ImageParts:
    """Return what `target` consists of. Never fails for what is missing or malformed."""
    parts = ImageParts()
    await _add(content, namespace, target, choice, parts, IndexBudget(), 0)
    return parts


async def _add(
    content: ContentStore, namespace: str, descriptor: Descriptor, choice: Choice, parts: ImageParts,
    budget: IndexBudget, depth: int,
) -> None:  # fmt: skip
    parts.blobs.setdefault(descriptor.digest, descriptor)
    if descriptor.media_type not in INDEX_TYPES | MANIFEST_TYPES:
        return
    try:
        if not budget.admit(descriptor, depth):
            return
        data = await content.read(namespace, descriptor.digest, limit=limits.MANIFEST_SIZE)
        document = parse_image_document(data, descriptor.media_type)
        children = choice(document) if isinstance(document, Index) else ()
    except TricornError as error:
        parts.problem = parts.problem or error.one_line()
        return
    for child in children:
        await _add(content, namespace, child, choice, parts, budget, depth + 1)
    if isinstance(document, Manifest):
        for blob in (document.config, *document.layers):
            if not nondistributable(blob):
                parts.blobs.setdefault(blob.digest, blob)
        await _chain(content, namespace, document, parts)


async def _chain(content: ContentStore, namespace: str, manifest: Manifest, parts: ImageParts) -> None:
    if not is_image(manifest):
        return
    try:
        data = await content.read(namespace, manifest.config.digest, limit=limits.MANIFEST_SIZE)
        parts.chains.append(chain_ids(diff_ids_of(manifest, parse_image_config(data))))
    except NotFound:
        return  # listed as missing anyway
    except TricornError as error:
        parts.problem = parts.problem or error.one_line()
