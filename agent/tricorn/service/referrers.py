"""Artifacts that refer to images (signatures, bills of materials): found, brought, kept and passed on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog
from attrs import evolve, frozen

from tricorn import limits
from tricorn.errors import InvalidArgument, NotFound, ResourceExhausted, TricornError
from tricorn.model.ids import Digest
from tricorn.model.image_requests import Referrer, ReferrersQuery, ReferrersResult
from tricorn.model.oci import MANIFEST_TYPES, OCI_INDEX, OCI_MANIFEST, Descriptor, Index, Manifest, Platform
from tricorn.model.oci import parse_image_document as parsed
from tricorn.model.records import Image
from tricorn.model.reference import Reference
from tricorn.model.requests import ImagePush, PushResult
from tricorn.ports import Referrals
from tricorn.rules import platforms
from tricorn.rules.referrers import (
    as_referrer,
    fallback_tag,
    labelled_referrers,
    of_type,
    referrer_label,
    subject_of,
)
from tricorn.service.catalog import Catalog
from tricorn.service.held_lease import held_lease
from tricorn.service.layers import Layer, PullRequest
from tricorn.service.progress import Reporter
from tricorn.service.pull import Puller
from tricorn.service.push import Pusher, PushRequest
from tricorn.service.transfer import TransferService
from tricorn.store.content import ContentStore
from tricorn.store.db import Database

log = structlog.get_logger(__name__)
_LABELLED: Final = limits.LABELS_PER_OBJECT // 2  # the rest is for what else a manifest's labels say


@frozen
class ReferrerService:
    db: Database
    content: ContentStore
    catalog: Catalog
    puller: Puller
    referrals: Referrals
    pusher: Pusher
    transfer: TransferService

    async def here(
        self, namespace: str, name: str, *, artifact_type: str = "", platform: str = ""
    ) -> ReferrersResult:
        """Return what is on the node and refers to an image, or to its part for a platform. NotFound."""
        image = await self.catalog.find(namespace, name)
        subject = await self._subject(namespace, image, platform)
        found = await self._known(namespace, image.name, subject)
        shown = [_shown(each, present=True) for each in of_type(found, artifact_type)]
        return ReferrersResult(str(subject), tuple(shown))

    async def ask(
        self, namespace: str, name: str, query: ReferrersQuery, report: Reporter
    ) -> ReferrersResult:
        """Return what the image's registry says refers to it; `query.fetch` brings it all.

        What is brought is kept as long as the image's manifest is. NotFound for an image that isn't here,
        with `fetch` or a platform; without them the registry is asked what the name stands for.
        """
        reference = Reference.parse(name)
        try:
            image = await self.catalog.find(namespace, name)
        except NotFound:
            if query.fetch or query.platform:
                raise
            target = await self.puller.resolve(self._request(namespace, reference, query))
            subject = target.digest
        else:
            reference = _repository(image.name)
            subject = await self._subject(namespace, image, query.platform)
        report.report("referrers", str(subject))
        found = await self.referrals.referrers(
            reference, subject, query.type, auth=query.auth, plain_http=query.plain_http
        )
        if query.fetch:
            await self._fetch(namespace, reference, subject, found, query, report)
        present = await self._present(namespace, found)
        return ReferrersResult(
            str(subject), tuple(_shown(each, present=each.digest in present) for each in found)
        )

    async def push(self, namespace: str, image: Image, wanted: ImagePush, report: Reporter) -> PushResult:
        """Push an image (see `TransferService.push_as`), then what refers to it and is on the node."""
        result = await self.transfer.push_as(namespace, image, wanted, report)
        subject = Digest.parse(result.digest)
        destination = Reference.parse(result.reference)
        for referrer in await self._known(namespace, image.name, subject):
            to = evolve(destination, tag="", digest=referrer.digest)
            request = PushRequest(namespace, referrer, to, auth=wanted.auth, plain_http=wanted.plain_http)
            await self.pusher.push(request)
        return result

    # ------------------------------------------------------------ on the node
    async def _subject(self, namespace: str, image: Image, platform: str) -> Digest:
        if not platform:
            return image.target.digest
        wanted = platforms.parse(platform, Platform())
        return (await self.catalog.resolve(namespace, image, wanted)).descriptor.digest

    async def _known(self, namespace: str, name: str, subject: Digest) -> list[Descriptor]:
        """Return what is on the node and refers to `subject`: what its labels keep, what has a name."""
        info = await self.db.read(lambda tx: tx.content.find(namespace, subject))
        digests = list(labelled_referrers(info.labels)) if info else []
        for image in await self.db.read(lambda tx: tx.images.list(namespace)):
            digests += await self._named(namespace, image, _fallback_name(name, subject))
        found = [await self._referrer(namespace, digest, subject) for digest in dict.fromkeys(digests)]
        return of_type([each for each in found if each], "")

    async def _named(self, namespace: str, image: Image, list_name: str) -> list[Digest]:
        """Return what an image's name may stand for: an artifact, or a list of such as registries keep."""
        if image.name != list_name:
            return [image.target.digest] if image.target.media_type in MANIFEST_TYPES else []
        try:
            index = parsed(await self._read(namespace, image.target.digest), OCI_INDEX)
        except TricornError:
            return []
        return [entry.digest for entry in index.manifests] if isinstance(index, Index) else []

    async def _referrer(self, namespace: str, digest: Digest, subject: Digest) -> Descriptor | None:
        """Return a manifest's descriptor if it is here and refers to `subject`."""
        try:
            data = await self._read(namespace, digest)
            about = subject_of(data)
        except TricornError:
            return None
        if about is None or about.digest != subject:
            return None
        return as_referrer(data, Descriptor(OCI_MANIFEST, digest, len(data)))

    async def _read(self, namespace: str, digest: Digest) -> bytes:
        return await self.content.read(namespace, digest, limit=limits.MANIFEST_SIZE)

    async def _present(self, namespace: str, found: Sequence[Descriptor]) -> set[Digest]:
        return await self.db.read(
            lambda tx: {each.digest for each in found if tx.content.find(namespace, each.digest)}
        )

    # ------------------------------------------------------------ from the registry
    def _request(
        self, namespace: str, reference: Reference, query: ReferrersQuery, lease: str = ""
    ) -> PullRequest:
        return PullRequest(
            namespace, reference, Platform(), "", auth=query.auth, plain_http=query.plain_http, lease=lease
        )

    async def _fetch(
        self, namespace: str, reference: Reference, subject: Digest, found: Sequence[Descriptor],
        query: ReferrersQuery, report: Reporter,
    ) -> None:  # fmt: skip
        if len(found) > _LABELLED:
            raise ResourceExhausted(
                f"too much refers to {subject}", why=f"{len(found)} artifacts, at most {_LABELLED} are kept",
                hint="name an artifact type",
            )  # fmt: skip
        async with held_lease(self.db, namespace, "referrers", content=(str(subject),)) as lease:
            request = self._request(namespace, reference, query, lease)
            labels: dict[str, str] = {}
            for descriptor in found:
                if await self._bring(request, descriptor, subject, report):
                    labels |= referrer_label(descriptor.digest)
            await self.content.update_labels(namespace, subject, labels)

    async def _bring(
        self, request: PullRequest, descriptor: Descriptor, subject: Digest, report: Reporter
    ) -> bool:
        """Bring one artifact with all that it names; False for one that refers to something else."""
        if descriptor.media_type not in MANIFEST_TYPES:
            log.warning("referrer of an unknown kind left out", media_type=descriptor.media_type)
            return False
        data = await self.puller.document(request, descriptor, request.lease)
        about = subject_of(data)
        if about is None or about.digest != subject:
            log.warning("the registry lists what refers to something else", digest=str(descriptor.digest))
            return False
        manifest = parsed(data, descriptor.media_type)
        assert isinstance(manifest, Manifest)
        report.item(descriptor).finish()
        layers = [Layer(blob, None, "") for blob in (manifest.config, *manifest.layers)]
        report.watch(layers)
        await self.puller.pipeline.fetch_all(request, layers, request.lease, None)
        return True


def _repository(name: str) -> Reference:
    try:
        return Reference.parse(name)
    except InvalidArgument:
        raise InvalidArgument(f"image {name!r} is called after no registry", field="name") from None


def _fallback_name(name: str, subject: Digest) -> str:
    try:
        return f"{Reference.parse(name).name}:{fallback_tag(subject)}"
    except InvalidArgument:
        return ""


def _shown(descriptor: Descriptor, *, present: bool) -> Referrer:
    return Referrer(
        str(descriptor.digest), descriptor.media_type, descriptor.size, descriptor.artifact_type,
        descriptor.annotations, present,
    )  # fmt: skip
