"""What a namespace's images are made of: documents read from content, and what is missing of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, Generic, TypeVar

from attrs import Factory, frozen

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound, TricornError
from tricorn.model.ids import Digest
from tricorn.model.oci import (
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    load_document,
    parse_image_config,
    parse_image_document,
)
from tricorn.model.records import Image
from tricorn.model.reference import Reference
from tricorn.model.requests import ImageView, LayerView
from tricorn.ports import ContentStore
from tricorn.rules import platforms
from tricorn.rules.chains import chain_ids, diff_ids_of
from tricorn.service.image_parts import parts_of
from tricorn.service.snapshots import SnapshotService
from tricorn.store.db import Database

_CACHED_DOCUMENTS: Final = 256
_FEW: Final = 32  # rows that may be looked up on the loop
_NAMED: Final = 8  # names in an error


@frozen
class ResolvedImage:
    """An image as it runs on one platform. `unpacked` tells whether `snapshotter` has its top layer."""

    image: Image
    platform: Platform
    descriptor: Descriptor  # of the manifest
    manifest: Manifest
    config: ImageConfig
    chain: tuple[str, ...]
    size: int
    missing: tuple[Digest, ...] = ()
    unpacked: bool = False
    raw_config: Mapping[str, object] = Factory(dict)


@frozen
class _Config:
    """What a config says, its own member `config` as it is, and its length."""

    parsed: ImageConfig
    raw: Mapping[str, object]
    size: int

    @classmethod
    def parse(cls, data: bytes) -> _Config:
        raw = load_document(data, "image config").get("config") or {}
        return cls(parse_image_config(data), raw, len(data))


@frozen
class _Listing:
    """A manifest or an index, and its length."""

    parsed: Manifest | Index
    size: int


T = TypeVar("T")


class _Cache(Generic[T]):
    """What documents were parsed to, by digest and type; those used longest ago make room."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Digest, str], T] = OrderedDict()

    def get(self, descriptor: Descriptor) -> T | None:
        key = descriptor.digest, descriptor.media_type
        if key in self._known:
            self._known.move_to_end(key)
        return self._known.get(key)

    def keep(self, descriptor: Descriptor, parsed: T) -> T:
        self._known[descriptor.digest, descriptor.media_type] = parsed
        while len(self._known) > _CACHED_DOCUMENTS:
            self._known.popitem(last=False)
        return parsed


class Catalog:
    """Reads images. Documents are content-addressed, so the cache never goes stale."""

    def __init__(self, db: Database, content: ContentStore, snapshots: SnapshotService) -> None:
        self._db = db
        self._content = content
        self._snapshots = snapshots
        self._listings = _Cache[_Listing]()
        self._configs = _Cache[_Config]()

    async def find(self, namespace: str, name: str, *, only: bool = False) -> Image:
        """Return the image that `name` (familiar or full, a digest, or the start of one) stands for. With
        `only`, a digest must not have several names: which of them is meant can't be told.
        """
        full = _full_name(name)
        images = await self._db.read(lambda tx: tx.images.list(namespace))
        for image in images:
            if image.name in {full, name}:
                return image
        matches = {i.target.digest: i for i in images if _names_digest(i, name)}
        if len(matches) == 1:
            (image,) = matches.values()
            names = [each.name for each in images if each.target.digest == image.target.digest]
            if only and len(names) > 1:
                raise InvalidArgument(
                    f"{name!r} is the digest of {len(names)} images",
                    why=", ".join(names[:_NAMED]),
                    hint="say which of them by its name",
                    field="name",
                )
            return image
        if matches:
            raise InvalidArgument(f"{name!r} is the start of several images' digests", field="name")
        raise NotFound(
            f"image {full or name!r} does not exist in namespace {namespace}",
            hint=f"`tricorn -n {namespace} image pull {name}` brings it",
        )

    async def resolve(
        self, namespace: str, image: Image, platform: Platform, snapshotter: str = ""
    ) -> ResolvedImage:
        """Read the image's documents for a platform. FailedPrecondition names what is missing."""
        snapshotter = snapshotter or await self._snapshots.default_in(namespace)
        descriptor = image.target
        size = 0
        for _ in range(limits.INDEX_DEPTH):
            listing = await self._listing(namespace, descriptor)
            size += listing.size
            if isinstance(listing.parsed, Manifest):
                described = descriptor, listing.parsed
                return await self._resolved(namespace, image, platform, snapshotter, described, size)
            descriptor = platforms.choose(listing.parsed.manifests, platform)
        raise InvalidArgument("indexes are nested too deeply", why=f"over {limits.INDEX_DEPTH} levels")

    async def _resolved(
        self,
        namespace: str,
        image: Image,
        platform: Platform,
        snapshotter: str,
        described: tuple[Descriptor, Manifest],
        size: int,
    ) -> ResolvedImage:
        descriptor, manifest = described
        read = await self._config(namespace, manifest.config)
        config = read.parsed
        chain = chain_ids(diff_ids_of(manifest, config))
        documents = image.target.digest, descriptor.digest, manifest.config.digest  # the cache outlives them
        wanted = list(dict.fromkeys((*documents, *(layer.digest for layer in manifest.layers))))
        look = self._db.look if len(wanted) <= _FEW else self._db.read
        present = await look(lambda tx: {digest for digest in wanted if tx.content.find(namespace, digest)})
        there = await self._snapshots.committed(namespace, snapshotter, chain[-1:])
        return ResolvedImage(
            image=image, platform=config.platform if config.platform.os else platform,
            descriptor=descriptor, manifest=manifest, config=config, chain=chain,
            size=size + read.size + sum(layer.size for layer in manifest.layers if layer.digest in present),
            missing=tuple(digest for digest in wanted if digest not in present),
            unpacked=bool(there) or not chain,
            raw_config=read.raw,
        )  # fmt: skip

    async def complete(self, namespace: str, image: Image) -> bool:
        """Tell whether the image's content is here for all platforms that it has."""
        parts = await parts_of(self._content, namespace, image.target)
        if parts.problem:
            return False
        return await self._db.read(
            lambda tx: all(tx.content.find(namespace, digest) for digest in parts.blobs)
        )

    async def _listing(self, namespace: str, descriptor: Descriptor) -> _Listing:
        known = self._listings.get(descriptor)
        if known is None:
            data = await self._document(namespace, descriptor)
            parsed = parse_image_document(data, descriptor.media_type)
            known = self._listings.keep(descriptor, _Listing(parsed, len(data)))
        return known

    async def _config(self, namespace: str, descriptor: Descriptor) -> _Config:
        known = self._configs.get(descriptor)
        if known is None:
            data = await self._document(namespace, descriptor)
            known = self._configs.keep(descriptor, _Config.parse(data))
        return known

    async def _document(self, namespace: str, descriptor: Descriptor) -> bytes:
        try:
            return await self._content.read(namespace, descriptor.digest, limit=limits.MANIFEST_SIZE)
        except NotFound:
            raise FailedPrecondition(
                f"content {descriptor.digest} is missing", hint="pull the image again with `--always`"
            ) from None

    async def view(
        self, namespace: str, image: Image, platform: Platform, *, whole: bool = False
    ) -> ImageView:
        """Return the image as clients see it; one with missing parts is shown as far as it goes."""
        try:
            resolved = await self.resolve(namespace, image, platform)
        except TricornError:
            return ImageView(
                image.name, image.target.digest, image.target.media_type, 0, labels=image.labels,
                created_at=image.created_at, updated_at=image.updated_at,
            )  # fmt: skip
        layers = [
            LayerView(str(layer.digest), layer.size, layer.media_type) for layer in resolved.manifest.layers
        ]
        return ImageView(
            name=image.name, digest=image.target.digest, media_type=image.target.media_type,
            size=resolved.size, platform=str(resolved.platform), unpacked=resolved.unpacked,
            labels=image.labels, layers=tuple(layers) if whole else (),
            config=resolved.raw_config if whole else {},
            created_at=image.created_at, updated_at=image.updated_at,
        )  # fmt: skip


def _full_name(name: str) -> str:
    try:
        return str(Reference.parse(name))
    except InvalidArgument:
        return ""


def _names_digest(image: Image, name: str) -> bool:
    wanted = name.removeprefix("sha256:")
    return len(wanted) >= 6 and image.target.digest.hex.startswith(wanted)
