"""Transfers between registries, the node's images and archives: what both doors and `ctr` ask for."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from tricorn.errors import InvalidArgument, NotFound
from tricorn.model.oci import Descriptor, Platform
from tricorn.model.records import Image
from tricorn.model.reference import Reference
from tricorn.model.requests import ImagePush, ImportResult, NamedImage, PushResult
from tricorn.model.transfer import ImageStoreEnd, Naming, Tell, TransferEvent, Unpacking
from tricorn.ports import DEFAULT_WAY, Auth, Clock, RegistryWay
from tricorn.rules import platforms
from tricorn.rules.archive_names import names_in_archive, names_of_target
from tricorn.service.archive_reader import Receive
from tricorn.service.archive_writer import Exporter, ExportRequest, Plan
from tricorn.service.archives import Importer, ImportRequest
from tricorn.service.catalog import Catalog
from tricorn.service.layers import PullRequest
from tricorn.service.progress import Reporter
from tricorn.service.pull import Puller
from tricorn.service.pull_wide import Unpack, Wide, WidePuller
from tricorn.service.push import Pusher, PushRequest
from tricorn.service.snapshots import SnapshotService
from tricorn.service.transfer_progress import Parts, PushBoard, silent
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction


@frozen
class RegistryEnd:
    """A registry as source or destination: the reference there, and how it is reached."""

    reference: str
    auth: Auth | None = None
    plain_http: bool = False
    way: RegistryWay = DEFAULT_WAY

    def __str__(self) -> str:
        return f"OCI Registry ({self.reference})"


class TransferService:
    """`wide`, `pusher`, `importer` and `exporter` do the work; this class says what of, and names it."""

    def __init__(
        self,
        db: Database,
        puller: Puller,
        wide: WidePuller,
        snapshots: SnapshotService,
        catalog: Catalog,
        pusher: Pusher,
        importer: Importer,
        exporter: Exporter,
        machine: Platform,
        clock: Clock,
    ) -> None:
        self._db = db
        self._puller = puller
        self._wide = wide
        self._snapshots = snapshots
        self._catalog = catalog
        self._pusher = pusher
        self._importer = importer
        self._exporter = exporter
        self._machine = machine
        self._clock = clock

    async def pull(
        self,
        namespace: str,
        source: RegistryEnd,
        store: ImageStoreEnd,
        *,
        lease: str = "",
        tell: Tell = silent,
        reporter: Reporter | None = None,
    ) -> list[Image]:
        """Bring an image for the store's platforms, unpack it as the store wants, and name it.

        Raises what `Puller.pull` raises, and InvalidArgument for a store that names no image.
        """
        request = self._request(namespace, source, lease)
        unpacks = await self._unpacks(namespace, store)
        tell(TransferEvent(f"Resolving from {source}"))
        target = await self._puller.resolve(request)
        names = self._images(store, target)
        if not names:
            raise InvalidArgument("the destination gives the image no name", field="destination.name")
        tell(TransferEvent(f"Pulling from {source}"))
        root = source.reference
        tell(TransferEvent("fetching image content", root, descriptor=target))
        parts, reporter = Parts(root, tell), reporter or Reporter()
        wanted = _normal(store.platforms)
        wide = Wide(
            request,
            wanted[: store.manifest_limit or None],
            unpacks,
            lambda _: names,
            all_metadata=store.all_metadata,
            limit=store.manifest_limit,
        )
        async with parts.following(reporter):
            images = await self._wide.pull(wide, target, reporter, parts.known)
        _saved(images, tell)
        tell(TransferEvent(f"Completed pull from {source}"))
        return images

    async def push(
        self,
        namespace: str,
        name: str,
        destination: RegistryEnd,
        *,
        wanted: Sequence[Platform] = (),
        tell: Tell = silent,
        reporter: Reporter | None = None,
    ) -> Descriptor:
        """Push an image (its index with what suits the platforms; all of it without them) under the
        destination's name.

        Raises NotFound for an image or content that isn't here, and the errors of the registry.
        """
        image = await self.image(namespace, name)
        tell(TransferEvent(f"Pushing to {destination}"))
        tell(TransferEvent("pushing content", image.name, descriptor=image.target))
        request = PushRequest(
            namespace, image.target, Reference.parse(destination.reference), _normal(wanted),
            auth=destination.auth, plain_http=destination.plain_http, way=destination.way,
        )  # fmt: skip
        parts, reporter = Parts(image.name, tell), reporter or Reporter()
        async with parts.following(reporter):
            reporter.report("upload", destination.reference)
            await self._pusher.push(request, PushBoard(reporter, parts))
        tell(TransferEvent("pushed content", image.name, descriptor=image.target))
        tell(TransferEvent(f"Completed push to {destination}", descriptor=image.target))
        return image.target

    async def push_as(
        self, namespace: str, image: Image, wanted: ImagePush, reporter: Reporter
    ) -> PushResult:
        """Push an image found before. With a platform, its manifest alone goes under the name: what is
        here of an image that was pulled for one platform.
        """
        reference, target = await self.destination(namespace, image, wanted)
        request = PushRequest(namespace, target, reference, auth=wanted.auth, plain_http=wanted.plain_http)
        reporter.report("upload", str(reference))
        await self._pusher.push(request, PushBoard(reporter))
        return PushResult(str(reference), target.digest)

    async def destination(
        self, namespace: str, image: Image, wanted: ImagePush
    ) -> tuple[Reference, Descriptor]:
        """Return where a push goes to, and what of the image it sends."""
        reference = Reference.parse(wanted.reference or image.name, "reference")
        if not wanted.platform:
            return reference, image.target
        platform = platforms.parse(wanted.platform, Platform())
        return reference, (await self._catalog.resolve(namespace, image, platform)).descriptor

    async def find(self, namespace: str, name: str) -> Image:
        """Return the image that people mean by `name`: familiar, full, or the start of a digest."""
        return await self._catalog.find(namespace, name)

    async def tag(self, namespace: str, name: str, store: ImageStoreEnd, *, lease: str = "") -> list[Image]:
        """Give an image more names; a name that stands for another image is moved. NotFound."""
        named = await self.image(namespace, name)
        await self._puller.gate.require_all(namespace, self._images(store, named.target))

        def tag(tx: Transaction) -> list[Image]:
            image = tx.images.get(namespace, name)
            images = self._images(store, image.target)
            if not images:
                raise InvalidArgument("the destination gives the image no name", field="destination.name")
            return [tx.images.put(namespace, each, lease=lease) for each in images]

        return await self._db.write(tag)

    async def load(
        self,
        namespace: str,
        receive: Receive,
        store: ImageStoreEnd,
        *,
        compress: bool = False,
        lease: str = "",
        tell: Tell = silent,
        reporter: Reporter | None = None,
    ) -> list[Image]:
        """Import an archive; its images are named by the store's references. See `Importer.load`."""
        tell(TransferEvent("Importing"))
        request = ImportRequest(
            namespace,
            lambda entry: _named(names_in_archive(entry, store.references), entry, store),
            lambda index: _named([store.name] if store.name else [], index, store),
            platforms=_normal(store.platforms),
            unpacks=await self._unpacks(namespace, store),
            compress=compress,
            lease=lease,
        )
        parts, reporter = Parts(store.name or "archive", tell), reporter or Reporter()
        async with parts.following(reporter):
            images = await self._importer.load(request, receive, reporter, parts.known)
        _saved(images, tell)
        tell(TransferEvent("Completed import"))
        return images

    async def load_archive(
        self,
        namespace: str,
        receive: Receive,
        *,
        base_name: str = "",
        platform: str = "",
        all_platforms: bool = False,
        unpack: bool = True,
        compress: bool = False,
        reporter: Reporter | None = None,
    ) -> ImportResult:
        """Import an archive for the node's platform or another, or for all, unpacked for the one.

        With `base_name`, images of other names are left out, and an archive's tags follow it; else each
        image keeps the whole name that it has in the archive. Names are completed, as those in requests are.
        """
        store = self.archive_store(base_name, platform, all_platforms=all_platforms, unpack=unpack)
        images = await self.load(namespace, receive, store, compress=compress, reporter=reporter)
        return ImportResult(
            tuple(NamedImage(each.name, each.target.digest, each.target.media_type) for each in images)
        )

    def archive_store(
        self, base_name: str, platform: str, *, all_platforms: bool, unpack: bool
    ) -> ImageStoreEnd:
        """Return how `load_archive` names and unpacks images."""
        wanted = platforms.parse(platform, self._machine)
        base = base_name or f"import-{self._today()}"
        naming = Naming(base, is_prefix=True, allow_overwrite=not base_name, completed=True)
        return ImageStoreEnd(
            platforms=() if all_platforms else (wanted,),
            references=(naming,),
            unpacks=(Unpacking(wanted),) if unpack else (),
        )

    async def plan_archive(
        self, namespace: str, names: Sequence[str], platform: str, *, all_platforms: bool
    ) -> Plan:
        """Find out what an archive of the images that people mean by `names` will hold."""
        images = [await self._catalog.find(namespace, name) for name in names]
        wanted = (platforms.parse(platform, self._machine),)
        return await self.plan_export(ExportRequest(namespace, images, wanted, all_platforms=all_platforms))

    def _today(self) -> str:
        return f"{self._clock.now():%Y-%m-%d}"

    async def plan_export(self, request: ExportRequest) -> Plan:
        """Find out what an archive of images will hold; see `Exporter.plan`."""
        return await self._exporter.plan(request)

    @property
    def exporter(self) -> Exporter:
        return self._exporter

    async def image(self, namespace: str, name: str) -> Image:
        """Return an image by the name it is recorded under; NotFound."""
        return await self._db.look(lambda tx: tx.images.get(namespace, name))

    async def images_of(self, namespace: str, store: ImageStoreEnd) -> list[Image]:
        """Return the images that a store as source names. NotFound, InvalidArgument for prefixes."""
        names = [store.name] if store.name else []
        for reference in store.references:
            if reference.is_prefix:
                raise InvalidArgument("images are not looked up by prefix", field="extra_references")
            names.append(reference.name)
        if not names:
            raise NotFound("the source names no image")
        return [await self.image(namespace, name) for name in names]

    def _request(self, namespace: str, source: RegistryEnd, lease: str) -> PullRequest:
        return PullRequest(
            namespace, Reference.parse(source.reference), Platform(), "",
            auth=source.auth, plain_http=source.plain_http, way=source.way, lease=lease,
        )  # fmt: skip

    async def _unpacks(self, namespace: str, store: ImageStoreEnd) -> list[Unpack]:
        unpacks = []
        for each in store.unpacks:
            snapshotter = each.snapshotter or await self._snapshots.default_in(namespace)
            self._snapshots.backend(snapshotter)
            unpacks.append(Unpack(platforms.normalise(each.platform), snapshotter))
        return unpacks

    def _images(self, store: ImageStoreEnd, target: Descriptor) -> list[Image]:
        return _named(names_of_target(target, store.name, store.references), target, store)


def _named(names: Sequence[str], target: Descriptor, store: ImageStoreEnd) -> list[Image]:
    return [Image(name, target, dict(store.labels)) for name in names]


def _normal(wanted: Sequence[Platform]) -> list[Platform]:
    return [platforms.normalise(platform) for platform in wanted]


def _saved(images: Sequence[Image], tell: Tell) -> None:
    for image in images:
        tell(TransferEvent("saved", image.name, descriptor=image.target))
