"""What this node serves to other nodes: images of the granted namespaces, and nothing besides.

A digest alone gives nothing away: a blob is served only if an image of the repository that is asked for,
in a served namespace, consists of it, and if the peer may have that repository. Blobs on their way are not
served before they are verified; who asks for one is kept waiting, and told how far it has come.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import trio
from attrs import define, frozen

from tricorn import limits
from tricorn.errors import NotFound, TricornError, Unavailable
from tricorn.model.checkpoints import PRIVATE
from tricorn.model.ids import Digest
from tricorn.model.oci import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    Manifest,
    parse_image_document,
)
from tricorn.model.records import Image
from tricorn.model.reference import Reference
from tricorn.ports import ContentStore
from tricorn.registry.turns import Turns
from tricorn.rules.peers import SERVED, Grant, Identity, goes_first, is_private
from tricorn.rules.platforms import IndexBudget
from tricorn.rules.referrers import of_type
from tricorn.service.bringing import Bringing
from tricorn.service.peer_referrers import PeerReferrers
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

_DOCUMENTS = INDEX_TYPES | MANIFEST_TYPES


@frozen
class ServedBlob:
    """A verified blob's place and size; `media_type` as the image has it."""

    digest: Digest
    media_type: str
    path: str
    size: int


@frozen
class _Place:
    """A blob as an image in a namespace names it."""

    namespace: str
    descriptor: Descriptor


@define
class PeerFigures:
    """Counts since the start, and how many requests wait now."""

    bytes_served: int = 0
    requests: int = 0
    refused: int = 0
    waited: int = 0
    waiting: int = 0


class PeerService:
    """Finds what peers ask for. `this` is the node itself, as its own certificate names it."""

    def __init__(
        self, db: Database, content: ContentStore, bringing: Bringing, turns: Turns, grant: Grant
    ) -> None:
        self._db = db
        self._content = content
        self._bringing = bringing
        self._turns = turns
        self._referring = PeerReferrers(content)
        self.grant = grant
        self.this = Identity(frozenset())
        self.figures = PeerFigures()
        self._children: OrderedDict[Digest, tuple[Descriptor, ...]] = OrderedDict()

    # ------------------------------------------------------------ what there is
    async def manifest(self, peer: Identity, repository: str, which: str) -> tuple[ServedBlob, bytes]:
        """Return a manifest or an index by tag or digest, with its bytes.

        NotFound for what isn't served to the peer, Unavailable while it is on its way.
        """
        if ":" in which:
            served = await self.blob(peer, repository, which)
            if served.media_type not in _DOCUMENTS:
                raise _unknown(repository, which)
        else:
            served = await self._tagged(peer, repository, which)
        return served, await self._read(served)

    async def blob(self, peer: Identity, repository: str, which: str) -> ServedBlob:
        """Return a blob of an image of `repository`; see `manifest`."""
        digest = Digest.parse(which)
        if not self.grant.allows(peer, repository):
            raise _unknown(repository, which)
        places = await self._places(repository, digest)
        if not places:
            places = await self._of_referrers(repository, digest)
        if (served := await self._first_here(places)) is not None:
            return served
        if not places or not self._on_its_way(peer, digest):
            raise _unknown(repository, which)
        return await self._wait(peer, repository, digest)

    async def referrers(
        self, peer: Identity, repository: str, which: str, artifact_type: str = ""
    ) -> list[Descriptor]:
        """Return what refers to a manifest of the repository and is on this node.

        NotFound for a manifest that isn't served, and when nothing is known: another host may know more.
        """
        digest = Digest.parse(which)
        if not self.grant.allows(peer, repository):
            raise _unknown(repository, which)
        places = await self._places(repository, digest)
        if await self._first_here(places) is None:
            raise _unknown(repository, which)
        found = []
        for namespace in dict.fromkeys(place.namespace for place in places):
            named = [target for home, _, target in await self._images(repository) if home == namespace]
            found += await self._referring.of(namespace, repository, digest, named)
        if not found:
            raise NotFound(f"{repository}: this node knows nothing that refers to {digest}")
        return of_type(found, artifact_type)

    async def tags(self, peer: Identity, repository: str) -> list[str]:
        """Return the repository's tags, sorted. NotFound for a repository without images here."""
        if not self.grant.allows(peer, repository):
            raise _unknown(repository, "")
        names = [Reference.parse(name) for _, name, _ in await self._images(repository)]
        if not names:
            raise _unknown(repository, "")
        return sorted({name.tag for name in names if name.tag})

    async def _tagged(self, peer: Identity, repository: str, tag: str) -> ServedBlob:
        if self.grant.allows(peer, repository):
            for namespace, name, target in await self._images(repository):
                if name != f"{repository}:{tag}":
                    continue
                places = await self._in_tree(namespace, target, target.digest)
                if (served := await self._first_here(places)) is not None:
                    return served
        raise _unknown(repository, tag)

    async def _read(self, served: ServedBlob) -> bytes:
        for namespace in self.grant.namespaces:
            try:
                return await self._content.read(namespace, served.digest, limit=limits.MANIFEST_SIZE)
            except NotFound:
                continue
        raise _unknown("", served.digest)

    async def _images(self, repository: str) -> list[tuple[str, str, Descriptor]]:
        """The images of a repository in the served namespaces: namespace, name and target."""
        starts = (f"{repository}:", f"{repository}@")
        found = []
        for namespace in self.grant.namespaces:
            images = await self._db.read(partial(_images_of, namespace=namespace))
            found += [(namespace, i.name, i.target) for i in images if i.name.startswith(starts)]
        return found

    # ------------------------------------------------------------ what images consist of
    async def _places(self, repository: str, digest: Digest) -> list[_Place]:
        """Return where a blob belongs to an image of the repository, whether its bytes are here or not."""
        targets = [(namespace, target) for namespace, _, target in await self._images(repository)]
        for namespace in self.grant.namespaces:
            targets += [(namespace, each) for each in self._bringing.of(namespace, repository)]
        places: list[_Place] = []
        once = {(namespace, target.digest): (namespace, target) for namespace, target in targets}
        for namespace, target in once.values():
            places += await self._in_tree(namespace, target, digest)
        return places

    async def _of_referrers(self, repository: str, digest: Digest) -> list[_Place]:
        """Return where a blob belongs to what refers to an image of the repository."""
        images = await self._images(repository)
        for namespace in self.grant.namespaces:
            named = [target for home, _, target in images if home == namespace]
            for subject in await self._subjects(namespace, named):
                for referrer in await self._referring.of(namespace, repository, subject, named):
                    for part in await self._referring.parts(namespace, referrer):
                        if part.digest == digest:
                            return [_Place(namespace, part)]
        return []

    async def _subjects(self, namespace: str, targets: Sequence[Descriptor]) -> list[Digest]:
        """Return the manifests and indexes of images, which artifacts may refer to."""
        found: dict[Digest, None] = {}
        for target in targets:
            children = await self._children_of(namespace, target)
            if children is not None:
                found |= dict.fromkeys(d.digest for d in (target, *children) if d.media_type in _DOCUMENTS)
        return list(found)

    async def _in_tree(self, namespace: str, target: Descriptor, digest: Digest) -> list[_Place]:
        """Look for a blob among all that an image consists of, as far as the namespace has it."""
        budget = IndexBudget()
        level: Sequence[Descriptor] = (target,)
        found: list[_Place] = []
        for depth in range(limits.INDEX_DEPTH + 1):
            below: list[Descriptor] = []
            for descriptor in level:
                if descriptor.digest == digest and descriptor.media_type in SERVED:
                    found = [_Place(namespace, descriptor)]
                if descriptor.media_type in _DOCUMENTS and _admitted(budget, descriptor, depth):
                    children = await self._children_of(namespace, descriptor)
                    if children is None:
                        return []  # private, all of it
                    below += children
            level = below
        return found

    async def _children_of(self, namespace: str, descriptor: Descriptor) -> Sequence[Descriptor] | None:
        """Return what a document names: nothing if it isn't here, None if it is for no other node."""
        known = self._children.get(descriptor.digest)
        if known is None:
            try:
                data = await self._content.read(namespace, descriptor.digest, limit=limits.MANIFEST_SIZE)
                document = parse_image_document(data, descriptor.media_type)
            except TricornError:
                return ()
            if isinstance(document, Manifest):
                known = (document.config, *document.layers)
            else:
                known = document.manifests
            if is_private(document, [child.media_type for child in known]):
                return None
            self._remember(descriptor.digest, known)
        return known

    def _remember(self, digest: Digest, children: tuple[Descriptor, ...]) -> None:
        self._children[digest] = children
        while len(self._children) > limits.PEER_DOCUMENTS:
            self._children.popitem(last=False)

    async def _first_here(self, places: Sequence[_Place]) -> ServedBlob | None:
        for place in places:
            descriptor = place.descriptor
            try:
                info = await self._content.info(place.namespace, descriptor.digest)
            except NotFound:
                continue
            if PRIVATE in info.labels:
                continue
            path = self._content.blob_path(info.digest)
            return ServedBlob(info.digest, descriptor.media_type, path, info.size)
        return None

    # ------------------------------------------------------------ what is on its way
    def _on_its_way(self, peer: Identity, digest: Digest) -> bool:
        """Whether it is this node that brings a blob which both want: it comes already, or this node has
        precedence. Otherwise it waits for the peer, or both wait for a third.
        """
        if self._turns.certain(digest):
            return True
        return self._turns.asking(digest) and goes_first(digest, self.this, peer)

    async def _wait(self, peer: Identity, repository: str, digest: Digest) -> ServedBlob:
        self.figures.waited += 1
        self.figures.waiting += 1
        try:
            with trio.move_on_after(limits.PEER_HOLD):
                while self._on_its_way(peer, digest):  # noqa: ASYNC110 - its end has many causes
                    await trio.sleep(limits.PEER_POLL)
        finally:
            self.figures.waiting -= 1
        places = await self._places(repository, digest)
        if (served := await self._first_here(places)) is not None:
            return served
        if not places or not self._on_its_way(peer, digest):
            raise _unknown(repository, digest)
        raise Unavailable(f"{digest} is on its way to this node", bringing=await self._offset(digest))

    async def _offset(self, digest: Digest) -> int:
        """Return how many bytes of a blob have come."""
        for namespace in self.grant.namespaces:
            for status in await self._content.statuses(namespace):
                if status.ref == f"layer-{digest}":
                    return status.offset
        return 0

    def statistics(self) -> dict[str, int]:
        """Return the figures for `info` and the metrics."""
        figures = self.figures
        return {
            "bytes_served": figures.bytes_served, "requests": figures.requests, "refused": figures.refused,
            "waited": figures.waited, "waiting": figures.waiting,
        }  # fmt: skip


def _images_of(tx: Transaction, namespace: str) -> list[Image]:
    return tx.images.list(namespace)


def _admitted(budget: IndexBudget, descriptor: Descriptor, depth: int) -> bool:
    try:
        return budget.admit(descriptor, depth)
    except TricornError:  # larger than any image may be: what lies deeper isn't served
        return False


def _unknown(repository: str, which: str) -> NotFound:
    return NotFound(f"{repository}: {which[:100]} is not served here")
