"""Export of images: an OCI layout in a tar that Docker can load, too. The same images give the same bytes.

Source: OCI image-spec 1.1 (image-layout.md); entries by name, without times and owners.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import structlog
import trio
from attrs import define, evolve, field, frozen

from tricorn import limits
from tricorn.errors import DataLoss, InvalidArgument, NotFound
from tricorn.model.ids import Digest
from tricorn.model.oci import INDEX_TYPES, OCI_INDEX, Descriptor, Index, Manifest, Platform, document_of
from tricorn.model.records import Image
from tricorn.model.reference import Reference
from tricorn.ports import ContentStore
from tricorn.rules import platforms
from tricorn.rules.archive_names import name_annotations
from tricorn.rules.chains import nondistributable
from tricorn.service.archive_reader import INDEX, LAYOUT, MANIFESTS
from tricorn.service.image_tree import Choice, Node, everything, walk
from tricorn.service.progress import Item, Reporter
from tricorn.store.db import Database

log = structlog.get_logger(__name__)
Write = Callable[[bytes | memoryview], Awaitable[None]]
_BLOCK: Final = 512
_END: Final = bytes(2 * _BLOCK)
_readers: Final = trio.CapacityLimiter(4)


@frozen
class ExportRequest:
    """Which images to export. `platforms` are in order of preference; `all_platforms` takes what the
    images' indexes name, all of it. With neither of them: the agent's own platform.
    """

    namespace: str
    images: Sequence[Image]
    platforms: Sequence[Platform] = ()
    all_platforms: bool = False
    docker: bool = True  # with the manifest.json that `docker load` reads
    distributable: bool = False  # leave out layers whose licence forbids to pass them on


@define
class Plan:
    """What an archive will hold: small files whole, blobs by digest; `size` is the tar's in bytes."""

    files: dict[str, bytes] = field(factory=dict)
    blobs: dict[str, Descriptor] = field(factory=dict)

    @property
    def size(self) -> int:
        directories = {os.path.dirname(name) for name in self.blobs} | ({"blobs"} if self.blobs else set())
        sizes = [len(data) for data in self.files.values()] + [blob.size for blob in self.blobs.values()]
        return sum(_BLOCK + size + -size % _BLOCK for size in sizes) + _BLOCK * len(directories) + len(_END)


class Exporter:
    """Writes archives of what the content store has."""

    def __init__(self, db: Database, content: ContentStore, machine: Platform) -> None:
        self._db = db
        self._content = content
        self._machine = machine

    async def plan(self, request: ExportRequest) -> Plan:
        """Find out what the archive holds, before a byte of it is written.

        Raises NotFound for content that isn't here and for platforms that an image doesn't have.
        """
        if not request.images:
            raise InvalidArgument("an archive needs an image", field="images")
        plan, entries = Plan(), []
        docker: dict[Digest, dict[str, Any]] = {}
        for image in request.images:
            nodes = await walk(self._content, request.namespace, image.target, self._choice(request))
            for node in nodes:
                for blob in (node.descriptor, *node.blobs):
                    if not (request.distributable and nondistributable(blob)):
                        plan.blobs[_path(blob)] = blob
            annotations = {**image.target.annotations, **name_annotations(image.name)}
            entries.append(document_of(evolve(image.target, annotations=annotations)))
            self._for_docker(request, image, nodes, docker)
        await self._check(request.namespace, plan)
        plan.files[LAYOUT] = _json({"imageLayoutVersion": "1.0.0"})
        plan.files[INDEX] = _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        if request.docker and docker:
            plan.files[MANIFESTS] = _json(list(docker.values()))
        return plan

    def _choice(self, request: ExportRequest) -> Choice:
        if request.all_platforms:
            return everything
        wanted = request.platforms or (self._machine,)

        def choose(index: Index) -> Sequence[Descriptor]:
            found, error = {}, None
            for platform in wanted:
                try:
                    entry = platforms.choose(index.manifests, platform)
                    found[entry.digest] = entry
                except NotFound as missing:
                    error = missing
            if not found and error is not None:
                raise error
            return tuple(found.values())

        return choose

    def _for_docker(
        self,
        request: ExportRequest,
        image: Image,
        nodes: Sequence[Node],
        images: dict[Digest, dict[str, Any]],
    ) -> None:
        """Add what manifest.json says of an image: Docker knows one platform of it."""
        node = self._best(request, image, nodes)
        if node is None:
            return
        config, *layers = node.blobs
        entry = images.setdefault(
            node.descriptor.digest,
            {"Config": _path(config), "RepoTags": [], "Layers": [_path(layer) for layer in layers]},
        )
        entry["RepoTags"].append(_familiar(image.name))

    def _best(self, request: ExportRequest, image: Image, nodes: Sequence[Node]) -> Node | None:
        manifests = [node for node in nodes if isinstance(node.document, Manifest)]
        if image.target.media_type not in INDEX_TYPES:
            return manifests[0] if manifests else None
        entries = [
            entry for node in nodes if isinstance(node.document, Index) for entry in node.document.manifests
        ]
        try:
            best = platforms.choose(entries, next(iter(request.platforms), self._machine))
        except NotFound:
            return None
        return next((node for node in manifests if node.descriptor.digest == best.digest), None)

    async def _check(self, namespace: str, plan: Plan) -> None:
        blobs = tuple(plan.blobs.values())
        missing = await self._db.read(
            lambda tx: [blob for blob in blobs if tx.content.find(namespace, blob.digest) is None]
        )
        if missing:
            raise NotFound(
                f"content {missing[0].digest} is missing",
                why=f"{len(missing)} of {len(blobs)} blobs aren't here",
                hint="name the platform that is here, or pull the image for all of them",
            )

    async def write(self, plan: Plan, write: Write, reporter: Reporter | None = None) -> None:
        """Write the archive. DataLoss when a blob on disk isn't what its digest says; what was written so
        far is no archive then.
        """
        reporter = reporter or Reporter()
        counted = _Counted(write, reporter, plan.size)
        for blob in plan.blobs.values():
            reporter.item(blob)
        for name in sorted({*plan.files, *plan.blobs, *_directories(plan.blobs)}):
            if name.endswith("/"):
                await counted.write(_header(name, 0, 0o755, tarfile.DIRTYPE))
            elif name in plan.files:
                data = plan.files[name]
                await counted.write(_header(name, len(data), 0o644))
                await counted.write(data + bytes(-len(data) % _BLOCK))
            else:
                await self._blob(name, reporter.item(plan.blobs[name]), counted.write)
        await counted.write(_END)

    async def _blob(self, name: str, item: Item, write: Write) -> None:
        blob = item.descriptor
        await write(_header(name, blob.size, 0o444))
        file = _BlobFile(self._content.blob_path(blob.digest), blob)
        try:
            while data := await trio.to_thread.run_sync(file.next, limiter=_readers):
                await write(data)
                item.phase, item.offset = "write", item.offset + len(data)
        finally:
            file.close()
        file.verify()
        item.finish()
        if padding := -blob.size % _BLOCK:
            await write(bytes(padding))


def tail(plan: Plan) -> bytes:
    """Return the end of the archive, behind its blobs: the documents, whose names sort after them."""
    parts = []
    for name, data in sorted(plan.files.items()):
        parts += [_header(name, len(data), 0o644), data, bytes(-len(data) % _BLOCK)]
    return b"".join([*parts, _END])


@define
class _Counted:
    _write: Write
    _reporter: Reporter
    _total: int
    _offset: int = 0

    async def write(self, data: bytes | memoryview) -> None:
        await self._write(data)
        self._offset += len(data)
        self._reporter.report("write", offset=self._offset, total=self._total)


class _BlobFile:
    """A blob read in pieces, hashed on the way."""

    def __init__(self, path: str, blob: Descriptor) -> None:
        self._path, self._blob = path, blob
        self._descriptor = -1
        self._left = blob.size
        self._hash = hashlib.new(blob.digest.algorithm)

    def next(self) -> bytes:
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            data = os.read(self._descriptor, min(self._left, limits.TRANSFER_BUFFER))
        except OSError as error:
            raise DataLoss(f"content {self._blob.digest} can't be read", why=error.strerror or "") from None
        self._left -= len(data)
        self._hash.update(data)
        return data

    def verify(self) -> None:
        if self._left or self._hash.hexdigest() != self._blob.digest.hex:
            raise DataLoss(
                f"content {self._blob.digest} is damaged on disk", hint="delete the image and pull it again"
            )

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _path(descriptor: Descriptor) -> str:
    return f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.hex}"


def _directories(names: Sequence[str] | dict[str, Any]) -> set[str]:
    return {f"{os.path.dirname(name)}/" for name in names} | ({"blobs/"} if names else set())


def _header(name: str, size: int, mode: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.type = size, mode, kind
    return info.tobuf(tarfile.PAX_FORMAT)


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _familiar(name: str) -> str:
    try:
        return Reference.parse(name).familiar()
    except InvalidArgument:
        return name
