"""What `docker save` writes, read as OCI documents: a manifest for each image, an index over them.

Sources: Docker image spec 1.2 (manifest.json), as containerd reads it.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import uuid4

import trio
from attrs import evolve, frozen

from tricorn import limits
from tricorn.errors import AlreadyExists, InvalidArgument
from tricorn.fs import decompress
from tricorn.model.ids import Digest
from tricorn.model.oci import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_INDEX,
    Descriptor,
    document_of,
    parse_image_config,
)
from tricorn.model.reference import Reference
from tricorn.ports import ContentStore, ContentWriter
from tricorn.rules.archive_names import IMAGE_NAME, REF_NAME
from tricorn.service.archive_reader import MANIFESTS, Archive, Part
from tricorn.service.image_tree import read_document

_DOCKER_ZSTD: Final = "application/vnd.docker.image.rootfs.diff.tar.zstd"
_LAYER_TYPES: Final = {"": DOCKER_LAYER, "gzip": DOCKER_LAYER_GZIP, "zstd": _DOCKER_ZSTD}
_IMAGES: Final = 1000
_compressors: Final = trio.CapacityLimiter(2)


@frozen
class DockerArchive:
    """Makes documents of an archive whose parts are in the namespace, held by `lease`."""

    content: ContentStore
    namespace: str
    lease: str
    archive: Archive
    compress: bool = False  # gzip layers that come as plain tar

    async def index(self) -> Descriptor:
        """Write manifests and index; return the index. Raises InvalidArgument for what doesn't fit."""
        entries = []
        for number, image in enumerate(_images(self.archive.documents[MANIFESTS])):
            entries += await self._image(image, f"{MANIFESTS}[{number}]")
        return await self._document({"manifests": [document_of(entry) for entry in entries]}, OCI_INDEX)

    async def _image(self, image: dict[str, Any], where: str) -> list[Descriptor]:
        config_part = self._part(image.get("Config"), f"{where}.Config")
        config = Descriptor(DOCKER_CONFIG, config_part.digest, config_part.size)
        names = _texts(image.get("Layers"), f"{where}.Layers")
        if len(names) > limits.LAYERS_PER_IMAGE:
            raise InvalidArgument("the image has too many layers", field=f"{where}.Layers")
        layers = [await self._layer(self._part(name, f"{where}.Layers")) for name in names]
        document = {"config": document_of(config), "layers": [document_of(layer) for layer in layers]}
        manifest = await self._document(document, DOCKER_MANIFEST)
        data = await read_document(self.content, self.namespace, config)
        manifest = evolve(manifest, platform=parse_image_config(data).platform)
        tags = _texts(image.get("RepoTags"), f"{where}.RepoTags")
        return [evolve(manifest, annotations=_annotations(tag)) for tag in tags] or [manifest]

    def _part(self, name: Any, where: str) -> Part:
        part = self.archive.part(posixpath.normpath(name)) if isinstance(name, str) else None
        if part is None:
            raise InvalidArgument("the archive lacks a file that its manifest names", field=where)
        return part

    async def _layer(self, part: Part) -> Descriptor:
        path = self.content.blob_path(part.digest)
        start = await trio.to_thread.run_sync(_start, path, limiter=_compressors)
        compression = decompress.detect(start, "")
        if not compression and self.compress:
            return await self._compressed(part, path)
        return Descriptor(_LAYER_TYPES[compression], part.digest, part.size)

    async def _compressed(self, part: Part, path: str) -> Descriptor:
        """Write a layer once more, in gzip; the plain one goes with the next collection."""
        packer = _Packer(path)
        ref = f"compress-{uuid4().hex}"
        async with self.content.writer(self.namespace, ref, lease=self.lease) as writer:
            while data := await trio.to_thread.run_sync(packer.next, limiter=_compressors):
                await writer.write(data)
            digest, size = packer.digest, writer.offset
            await _commit(writer, size, digest, {"containerd.io/uncompressed": str(part.digest)})
        return Descriptor(DOCKER_LAYER_GZIP, digest, size)

    async def _document(self, members: dict[str, Any], media_type: str) -> Descriptor:
        document = {"schemaVersion": 2, "mediaType": media_type, **members}
        data = json.dumps(document, separators=(",", ":")).encode()
        digest = Digest.of(data)
        try:
            async with self.content.writer(
                self.namespace, f"import-{uuid4().hex}", total=len(data), expected=digest, lease=self.lease
            ) as writer:
                await writer.write(data)
                await writer.commit(size=len(data), expected=digest)
        except AlreadyExists:
            pass
        return Descriptor(media_type, digest, len(data))


class _Packer:
    """gzip without a name and a time in it: the same layer gives the same bytes."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - closed at its end by `next`
        self._hash = hashlib.sha256()
        self._zip = zlib.compressobj(6, wbits=31)

    def next(self) -> bytes:
        """Return some compressed bytes, none at the end."""
        while not self._file.closed:
            data = self._file.read(limits.TRANSFER_BUFFER)
            if data:
                packed = self._zip.compress(data)
            else:
                packed = self._zip.flush()
                self._file.close()
            if packed:
                self._hash.update(packed)
                return packed
        return b""

    @property
    def digest(self) -> Digest:
        return Digest(f"sha256:{self._hash.hexdigest()}")


async def _commit(writer: ContentWriter, size: int, digest: Digest, labels: dict[str, str]) -> None:
    try:
        await writer.commit(size=size, expected=digest, labels=labels)
    except AlreadyExists:
        return


def _start(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(decompress.DETECT_SIZE)


def _images(data: bytes) -> list[dict[str, Any]]:
    try:
        images = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{MANIFESTS} is not valid JSON", why=str(error)[:200]) from None
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise InvalidArgument(f"{MANIFESTS} is no list of images")
    if len(images) > _IMAGES:
        raise InvalidArgument(f"{MANIFESTS} lists too many images", why=f"at most {_IMAGES}")
    return images


def named_images(data: bytes) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the path of each image's config with the annotations of each of its names, {} for none."""
    for number, image in enumerate(_images(data)):
        config = image.get("Config")
        for tag in _texts(image.get("RepoTags"), f"{MANIFESTS}[{number}].RepoTags") or ("",):
            yield config if isinstance(config, str) else "", _annotations(tag) if tag else {}


def _texts(raw: Any, where: str) -> Sequence[str]:
    if raw is None:
        return ()
    if not isinstance(raw, list) or not all(isinstance(text, str) for text in raw):
        raise InvalidArgument("expected a list of strings", field=where)
    return raw


def _annotations(tag: str) -> dict[str, str]:
    reference = Reference.parse(tag)
    return {IMAGE_NAME: str(reference), REF_NAME: reference.tag or str(reference)}
