"""Use cases on images: bring them to a desired state, look at them, forget them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

from tricorn.errors import InvalidArgument, NotFound, TricornError
from tricorn.model.oci import Descriptor, Platform
from tricorn.model.records import Image
from tricorn.model.reference import Reference
from tricorn.model.requests import Action, Change, ImageDesired, ImageView
from tricorn.rules import platforms
from tricorn.rules.gc_labels import EXPIRE, parse_time
from tricorn.rules.plan import label_changes
from tricorn.service.catalog import Catalog, ResolvedImage
from tricorn.service.layers import PullRequest
from tricorn.service.policy import PolicyGate
from tricorn.service.progress import Reporter
from tricorn.service.pull import Puller, subject_of
from tricorn.service.pull_wide import Unpack, Wide, WidePuller
from tricorn.service.snapshots import SnapshotService
from tricorn.store.db import Database


class Trigger(Protocol):
    """The collector's door: something was deleted."""

    async def collect(self) -> object: ...


@attrs.frozen
class _Here:
    """What there is of an image."""

    image: Image
    complete: bool  # all content that is wanted
    whole: bool  # and that unpacked, if it is to be


class ImageService:
    """`machine_platform` is what images are chosen for when a request names no platform."""

    def __init__(
        self, db: Database, catalog: Catalog, puller: Puller, snapshots: SnapshotService,
        machine_platform: Platform,
    ) -> None:  # fmt: skip
        self._db = db
        self._catalog = catalog
        self._puller = puller
        self.gate: PolicyGate = puller.gate
        self._snapshots = snapshots
        self._platform = machine_platform

    async def list(self, namespace: str, filters: Sequence[str] = ()) -> list[ImageView]:
        """Return the namespace's images that match any of the filters."""
        images = await self._db.read(lambda tx: tx.images.list(namespace, filters))
        return [await self._catalog.view(namespace, image, self._platform) for image in images]

    async def get(self, namespace: str, name: str) -> ImageView:
        """Return one image with its layers and config."""
        image = await self._catalog.find(namespace, name)
        return await self._catalog.view(namespace, image, self._platform, whole=True)

    async def put(
        self, namespace: str, desired: ImageDesired, *, plan: bool = False, report: Reporter | None = None
    ) -> Change:
        """Bring the image to the desired state, or under `plan` only say what that would take.

        `pull: always` asks the registry in either case; `missing` asks it only when something is missing.
        """
        reference = Reference.parse(desired.reference)
        if desired.platforms and desired.all_platforms:
            raise InvalidArgument("platforms and all_platforms exclude each other", field="platforms")
        if desired.state == "absent":
            return await self._absent(namespace, str(reference), plan=plan)
        request = await self._request(namespace, reference, desired)
        before = await self._here(request, desired)
        action, target = await self._decide(request, desired, before)
        labels = label_changes(before.image.labels, desired.labels) if before else {}
        actions = (action,) if action else ()
        if labels and not action:
            actions = (Action("update", f"image/{reference}", "labels differ"),)
        shown = await self._view(namespace, before.image if before else None)
        if plan or not actions:
            after = shown if not actions else {**shown, **_expected(request, target)}
            return Change(bool(actions), actions, shown, after)
        if action:
            descriptor = target or await self._puller.resolve(request)
            image = await self._pull(request, descriptor, desired, before, report or Reporter())
        else:
            image = await self._db.write(
                lambda tx: tx.images.update_labels(namespace, str(reference), labels)
            )
        return Change(changed=True, actions=actions, before=shown, after=await self._view(namespace, image))

    async def _pull(
        self,
        request: PullRequest,
        target: Descriptor,
        desired: ImageDesired,
        before: _Here | None,
        reporter: Reporter,
    ) -> Image:
        """Pull for one platform and unpack; the content of others that are wanted comes along."""
        others = desired.platforms
        if not others and not desired.all_platforms:
            return await self._puller.pull(request, target, reporter)
        unpacks = [Unpack(request.platform, request.snapshotter)] if request.snapshotter else []
        labels = {**(before.image.labels if before else {}), **request.labels}
        image = Image(str(request.reference), target, labels)
        wanted = [request.platform, *(platforms.parse(each, self._platform) for each in others)]
        chosen = [] if desired.all_platforms else list(dict.fromkeys(wanted))
        wide = Wide(request, chosen, unpacks, lambda _: [image])
        (stored,) = await WidePuller(self._puller, self._snapshots).pull(wide, target, reporter)
        return stored

    async def _request(self, namespace: str, reference: Reference, desired: ImageDesired) -> PullRequest:
        snapshotter = desired.snapshotter or await self._snapshots.default_in(namespace)
        self._snapshots.backend(snapshotter)
        return PullRequest(
            namespace=namespace,
            reference=reference,
            platform=platforms.parse(desired.platform, self._platform)
            if desired.platform
            else self._platform,
            snapshotter=snapshotter if desired.unpack else "",
            labels=desired.labels,
            auth=desired.auth,
            plain_http=desired.plain_http,
        )

    async def _current(self, namespace: str, request: PullRequest) -> ResolvedImage | None:
        """Return the image as it is, None when its name or its documents are missing."""
        try:
            image = await self._db.look(lambda tx: tx.images.get(namespace, str(request.reference)))
            return await self._catalog.resolve(namespace, image, request.platform, request.snapshotter)
        except TricornError:
            return None

    async def _decide(
        self, request: PullRequest, desired: ImageDesired, before: _Here | None
    ) -> tuple[Action | None, Any]:
        """Return the transfer that is needed, if any, and its target where that is known already."""
        name = f"image/{request.reference}"
        if desired.pull == "never":
            if before is None:
                raise NotFound(
                    f"image {request.reference} does not exist in namespace {request.namespace}",
                    hint="`pull: missing` would bring it",
                )
            if not before.complete:
                raise NotFound(
                    f"image {request.reference} isn't all here", hint="`pull: missing` would bring the rest"
                )
            return (None if before.whole else Action("unpack", name, "not unpacked")), before.image.target
        if desired.pull == "missing" and before is not None:
            return (None if before.whole else Action("pull", name, "incomplete")), before.image.target
        target = await self._puller.resolve(request) if desired.pull == "always" else None
        if before is None or target is None:
            return Action("pull", name, "no such image"), target
        if target.digest != before.image.target.digest:
            return Action("pull", name, f"the registry has {target.digest.short}"), target
        return (None if before.whole else Action("pull", name, "incomplete")), target

    async def _here(self, request: PullRequest, desired: ImageDesired) -> _Here | None:
        """Return what there is of an image, None when its name or its documents are missing."""
        namespace = request.namespace
        resolved = await self._current(namespace, request)
        if resolved is not None:
            complete = not resolved.missing and await self._has_others(namespace, resolved.image, desired)
            return _Here(
                resolved.image, complete, complete and (resolved.unpacked or not request.snapshotter)
            )
        if desired.all_platforms and not request.snapshotter:  # nothing of it has to suit this node
            image = await self._db.look(lambda tx: tx.images.find(namespace, str(request.reference)))
            if image is not None and await self._catalog.complete(namespace, image):
                return _Here(image, complete=True, whole=True)
        return None

    async def _has_others(self, namespace: str, image: Image, desired: ImageDesired) -> bool:
        """Whether the content of an image is here for the other platforms that are wanted."""
        if desired.all_platforms:
            return await self._catalog.complete(namespace, image)
        for text in desired.platforms:
            platform = platforms.parse(text, self._platform)
            try:
                found = await self._catalog.resolve(namespace, image, platform)
            except TricornError:
                return False
            if found.missing:
                return False
        return True

    async def ensure(
        self, namespace: str, desired: ImageDesired, report: Reporter | None = None
    ) -> ResolvedImage:
        """Return the image, complete and unpacked, as containers need it. Raises as `PolicyGate.require`
        for one that the policy doesn't allow now, however it came here.
        """
        request = await self._request(namespace, Reference.parse(desired.reference), desired)
        current = await self._current(namespace, request) if desired.pull != "always" else None
        if current and current.unpacked and not current.missing:
            await self.gate.require(subject_of(request, current.image.name, current.image.target))
            return current
        await self.put(namespace, desired, report=report)
        image = await self._db.look(lambda tx: tx.images.get(namespace, str(request.reference)))
        await self.gate.require(subject_of(request, image.name, image.target))
        return await self._catalog.resolve(namespace, image, request.platform, request.snapshotter)

    async def known_digest(self, namespace: str, reference: str) -> str:
        """Return the digest the name has here now, "" if the image is not here."""
        name = str(Reference.parse(reference))
        image = await self._db.look(lambda tx: tx.images.find(namespace, name))
        return image.target.digest if image else ""

    async def delete(self, namespace: str, name: str, *, sync: bool = False, plan: bool = False) -> Change:
        """Forget an image's name; its content goes with the next collection, with `sync` at once.
        InvalidArgument for a digest that several names have.
        """
        image = await self._catalog.find(namespace, name, only=True)
        return await self._absent(namespace, image.name, plan=plan, sync=sync)

    async def tag(self, namespace: str, name: str, reference: str) -> ImageView:
        """Give an image one more name; a name that stands for another image is moved. NotFound."""
        image = await self._catalog.find(namespace, name)
        tagged = attrs.evolve(image, name=str(Reference.parse(reference, "reference")))
        await self.gate.require_all(namespace, [tagged])
        stored = await self._db.write(lambda tx: tx.images.put(namespace, tagged))
        return await self._catalog.view(namespace, stored, self._platform, whole=True)

    async def label(self, namespace: str, name: str, labels: Mapping[str, str]) -> ImageView:
        """Merge labels into an image's; an empty value removes one. NotFound; InvalidArgument, also for an
        expiry that is no time.
        """
        expiry = labels.get(EXPIRE)
        if expiry and parse_time(expiry) is None:
            raise InvalidArgument(
                f"{expiry[:60]!r} is no time", hint="RFC 3339, such as 2027-01-31T12:00:00Z", field="labels"
            )
        image = await self._catalog.find(namespace, name)
        stored = await self._db.write(lambda tx: tx.images.update_labels(namespace, image.name, labels))
        return await self._catalog.view(namespace, stored, self._platform)

    collector: Trigger | None = None  # set by the composition root; the collector needs this side's services

    async def _absent(self, namespace: str, name: str, *, plan: bool, sync: bool = False) -> Change:
        image = await self._db.look(lambda tx: tx.images.find(namespace, name))
        if image is None:
            return Change(changed=False)
        change = Change(
            changed=True,
            actions=(Action("remove", f"image/{name}"),),
            before=await self._view(namespace, image),
        )
        if not plan:
            await self._db.write(lambda tx: tx.images.delete(namespace, name))
            if sync and self.collector:
                await self.collector.collect()
        return change

    async def _view(self, namespace: str, image: Image | None) -> Mapping[str, Any]:
        if image is None:
            return {}
        return attrs.asdict(await self._catalog.view(namespace, image, self._platform))


def _expected(request: PullRequest, target: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"name": str(request.reference)}
    if target is not None:
        known["digest"] = str(target.digest)
    return known
