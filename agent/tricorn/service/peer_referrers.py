"""What refers to images that peers may have (signatures, bills of materials), as far as this node has it.

An artifact is of a repository if an image of that repository is called by it, or if it was brought from
there: one that is kept with the same image for another repository's sake is none of the peer's business.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from attrs import frozen

from tricorn import limits
from tricorn.errors import NotFound, TricornError
from tricorn.model.checkpoints import PRIVATE
from tricorn.model.ids import Digest
from tricorn.model.oci import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    document_of,
    parse_image_document,
)
from tricorn.model.reference import Reference
from tricorn.ports import ContentStore
from tricorn.rules.chains import sources_in
from tricorn.rules.peers import is_private
from tricorn.rules.referrers import as_referrer, labelled_referrers, of_type, subject_of


@frozen
class PeerReferrers:
    content: ContentStore

    async def of(
        self, namespace: str, repository: str, subject: Digest, named: Sequence[Descriptor]
    ) -> list[Descriptor]:
        """Return the artifacts of the repository that refer to `subject`; `named` are its images here."""
        try:
            info = await self.content.info(namespace, subject)
        except NotFound:
            return []
        known = [d for d in labelled_referrers(info.labels) if await self._from(namespace, repository, d)]
        for target in named:
            known += await self._listed(namespace, target)
        found = [await self._referrer(namespace, digest, subject) for digest in dict.fromkeys(known)]
        return of_type([each for each in found if each], "")

    async def parts(self, namespace: str, referrer: Descriptor) -> tuple[Descriptor, ...]:
        """Return an artifact and what it consists of; nothing of one that is for no other node."""
        try:
            data = await self._read(namespace, referrer.digest)
            document = parse_image_document(data, referrer.media_type)
        except TricornError:
            return ()
        if isinstance(document, Index):
            return (referrer,)
        children = (document.config, *document.layers)
        return () if is_private(document, [each.media_type for each in children]) else (referrer, *children)

    async def _from(self, namespace: str, repository: str, digest: Digest) -> bool:
        """Return whether a blob was brought from the repository."""
        try:
            labels = (await self.content.info(namespace, digest)).labels
        except NotFound:
            return False
        reference = Reference.parse(repository)
        return PRIVATE not in labels and (reference.host, reference.path) in sources_in(labels)

    async def _listed(self, namespace: str, target: Descriptor) -> list[Digest]:
        """Return an image's manifest, or all in a list such as registries keep under a tag."""
        if target.media_type in MANIFEST_TYPES:
            return [target.digest]
        try:
            data = await self._read(namespace, target.digest)
            document = parse_image_document(data, target.media_type)
        except TricornError:
            return []
        return [entry.digest for entry in document.manifests] if isinstance(document, Index) else []

    async def _referrer(self, namespace: str, digest: Digest, subject: Digest) -> Descriptor | None:
        try:
            data = await self._read(namespace, digest)
            about = subject_of(data)
            media_type = json.loads(data).get("mediaType") or OCI_MANIFEST
        except (TricornError, ValueError):
            return None
        if about is None or about.digest != subject or media_type not in INDEX_TYPES | MANIFEST_TYPES:
            return None
        return as_referrer(data, Descriptor(media_type, digest, len(data)))

    async def _read(self, namespace: str, digest: Digest) -> bytes:
        return await self.content.read(namespace, digest, limit=limits.MANIFEST_SIZE)


def listing(referrers: Sequence[Descriptor]) -> bytes:
    """Return the index that answers a request for referrers (distribution-spec 1.1)."""
    document = {
        "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [document_of(each) for each in referrers],
    }  # fmt: skip
    return json.dumps(document, separators=(",", ":")).encode()
