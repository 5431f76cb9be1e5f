"""The documents of an image as the content store has them: what it consists of, children first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from attrs import frozen

from tricorn import limits
from tricorn.errors import NotFound
from tricorn.model.oci import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    Index,
    Manifest,
    Platform,
    parse_image_document,
)
from tricorn.ports import ContentStore
from tricorn.rules import platforms
from tricorn.rules.checkpoint_index import checkpoint_parts

Choice = Callable[[Index], Sequence[Descriptor]]


@frozen
class Node:
    """A manifest or an index with its bytes; `parents` are the indexes above, the nearest last."""

    descriptor: Descriptor
    data: bytes
    document: Manifest | Index
    parents: tuple[Descriptor, ...] = ()

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """What a manifest names: its config, then its layers; of a checkpoint's index, its other parts."""
        if isinstance(self.document, Index):
            return checkpoint_parts(self.document)
        return (self.document.config, *self.document.layers)


def everything(index: Index) -> Sequence[Descriptor]:
    """Choose all of an index."""
    return index.manifests


def only(wanted: Sequence[Platform]) -> Choice:
    """Choose what suits each of the platforms best; all of an index when there are none.

    The choice raises NotFound naming what an index offers when it has nothing for a platform.
    """
    if not wanted:
        return everything

    def choose(index: Index) -> Sequence[Descriptor]:
        chosen = (platforms.choose(index.manifests, platform) for platform in wanted)
        return tuple({entry.digest: entry for entry in chosen}.values())

    return choose


async def walk(
    content: ContentStore, namespace: str, target: Descriptor, choice: Choice = everything
) -> list[Node]:
    """Return the documents below `target`, children before parents, each once.

    Raises NotFound naming a document that is missing, and what parsing raises; the number, the depth and
    the size of documents are bounded.
    """
    budget = platforms.IndexBudget()
    return [node async for node in _walk(content, namespace, target, choice, budget, ())]


async def _walk(
    content: ContentStore,
    namespace: str,
    descriptor: Descriptor,
    choice: Choice,
    budget: platforms.IndexBudget,
    parents: tuple[Descriptor, ...],
) -> AsyncIterator[Node]:
    if not budget.admit(descriptor, len(parents)):
        return
    data = await read_document(content, namespace, descriptor)
    document = parse_image_document(data, descriptor.media_type)
    if isinstance(document, Index):
        whole = checkpoint_parts(document)  # it restores on that very image
        for child in document.manifests if whole else choice(document):
            if child.media_type in INDEX_TYPES | MANIFEST_TYPES:
                below = _walk(content, namespace, child, choice, budget, (*parents, descriptor))
                async for node in below:
                    yield node
    yield Node(descriptor, data, document, parents)


async def read_document(content: ContentStore, namespace: str, descriptor: Descriptor) -> bytes:
    """Return a document; NotFound with a hint when the namespace lacks it."""
    try:
        return await content.read(namespace, descriptor.digest, limit=limits.MANIFEST_SIZE)
    except NotFound:
        raise NotFound(
            f"content {descriptor.digest} is missing",
            why="the image isn't here for all its platforms",
            hint="name the platform that is here, or pull the image for all of them",
        ) from None
