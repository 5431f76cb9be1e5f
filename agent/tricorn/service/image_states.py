"""Desired states of images beyond their presence: the names they have, and what a registry has of them."""

from __future__ import annotations

from collections.abc import Mapping

from tricorn.errors import AlreadyExists, NotFound
from tricorn.model.oci import Platform
from tricorn.model.records import Image
from tricorn.model.reference import Reference
from tricorn.model.requests import Action, Change, ImagePush, ImageTags
from tricorn.service.catalog import Catalog
from tricorn.service.images import ImageService
from tricorn.service.layers import PullRequest
from tricorn.service.progress import Reporter
from tricorn.service.pull import Puller
from tricorn.service.transfer import TransferService
from tricorn.store.db import Database


class ImageStates:
    """Compares what is wanted with what is there, and does what is missing."""

    def __init__(
        self,
        db: Database,
        catalog: Catalog,
        images: ImageService,
        puller: Puller,
        transfer: TransferService,
    ) -> None:
        self._db = db
        self._catalog = catalog
        self._images = images
        self._puller = puller
        self._transfer = transfer

    async def tagged(self, namespace: str, name: str, wanted: ImageTags, *, plan: bool = False) -> Change:
        """Make sure that the image has these names, too.

        Raises NotFound for the image, AlreadyExists for a name of another image unless that shall be moved.
        """
        image = await self._catalog.find(namespace, name)
        names = [str(Reference.parse(each, "references")) for each in wanted.references]
        before = await self._digests(namespace, names)
        taken = [each for each, digest in before.items() if digest not in {"", image.target.digest}]
        if taken and not wanted.force:
            raise AlreadyExists(
                f"{taken[0]} stands for another image", hint="`force` moves the name", field="references"
            )
        missing = [each for each in names if before[each] != image.target.digest]
        actions = tuple(
            Action("tag", f"image/{each}", "it stands for another image" if each in taken else "no such name")
            for each in missing
        )
        for each in () if plan else missing:
            await self._images.tag(namespace, image.name, each)
        after = dict.fromkeys(names, str(image.target.digest))
        return Change(bool(missing), actions, {"names": before}, {"names": after})

    async def _digests(self, namespace: str, names: list[str]) -> dict[str, str]:
        found = await self._db.read(lambda tx: [tx.images.find(namespace, name) for name in names])
        return {
            name: str(image.target.digest) if image else "" for name, image in zip(names, found, strict=True)
        }

    async def pushed(
        self,
        namespace: str,
        image: Image,
        wanted: ImagePush,
        *,
        plan: bool = False,
        report: Reporter | None = None,
    ) -> Change:
        """Make sure that a registry has the image under a reference; it is asked first. Raises as a push."""
        reference, target = await self._transfer.destination(namespace, image, wanted)
        there = await self._there(namespace, reference, wanted)
        before: Mapping[str, str] = {"reference": str(reference), "digest": there} if there else {}
        after = {"reference": str(reference), "digest": str(target.digest)}
        if there == target.digest:
            return Change(changed=False, before=before, after=before)
        if not plan:
            await self._transfer.push_as(namespace, image, wanted, report or Reporter())
        reason = "the registry has another image" if there else "the registry doesn't have it"
        return Change(
            changed=True, actions=(Action("push", f"image/{reference}", reason),), before=before, after=after
        )

    async def _there(self, namespace: str, reference: Reference, wanted: ImagePush) -> str:
        request = PullRequest(
            namespace, reference, Platform(), "", auth=wanted.auth, plain_http=wanted.plain_http
        )
        try:
            return str((await self._puller.resolve(request)).digest)
        except NotFound:
            return ""
