"""Import of image archives: OCI layouts and what `docker save` writes, as they stream in.

All bytes go straight into the content store; then each image is checked, unpacked and named as a pull does
it, only that nothing can be fetched: what an archive lacks must be here already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import uuid4

import structlog
from attrs import evolve, frozen

from tricorn.errors import AlreadyExists, InvalidArgument, NotFound, Unimplemented
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_INDEX, Descriptor, Index, Platform, load_document, parse_image_document
from tricorn.model.records import Image
from tricorn.model.reference import Reference
from tricorn.ports import BlobSink, ContentStore, Push
from tricorn.rules import platforms
from tricorn.service.archive_docker import DockerArchive
from tricorn.service.archive_reader import INDEX, LAYOUT, MANIFESTS, Archive, Receive, read_archive
from tricorn.service.layers import PullRequest
from tricorn.service.progress import Reporter
from tricorn.service.pull import Puller
from tricorn.service.pull_wide import Seen, Unpack, Wide, WidePuller

log = structlog.get_logger(__name__)
_VERSION: Final = "1.0.0"
_HERE: Final = Reference("archive", "import", "latest", None)


class NothingElse:
    """ports.Registry for images whose content must be here: it has nothing."""

    async def resolve(self, reference: Reference, **_: Any) -> Descriptor:
        raise NotFound(f"{reference} is not in the archive")

    async def fetch(
        self,
        reference: Reference,  # noqa: ARG002 - the port's
        descriptor: Descriptor,
        sink: BlobSink,  # noqa: ARG002 - the port's
        **_: Any,
    ) -> None:
        raise _lacks(descriptor)

    async def fetch_document(
        self,
        reference: Reference,  # noqa: ARG002 - the port's
        descriptor: Descriptor,
        **_: Any,
    ) -> bytes:
        raise _lacks(descriptor)

    async def push(self, reference: Reference, **_: Any) -> Push:
        raise Unimplemented(f"{reference} is in an archive, which takes no pushes")


def _lacks(descriptor: Descriptor) -> NotFound:
    return NotFound(
        f"the archive lacks blob {descriptor.digest}",
        why="it isn't here either",
        hint="an archive of all platforms may have been asked for, but holds one",
    )


@frozen
class ImportRequest:
    """What to make of an archive. No `platforms`: all. `names` gives the images for an entry of the
    archive's index; `index_names` those for the index itself.
    """

    namespace: str
    names: Callable[[Descriptor], Sequence[Image]]
    index_names: Callable[[Descriptor], Sequence[Image]] = lambda _: ()
    platforms: Sequence[Platform] = ()
    unpacks: Sequence[Unpack] = ()
    compress: bool = False
    lease: str = ""


class Importer:
    """Brings archives into the content store and names what is in them."""

    def __init__(self, content: ContentStore, puller: Puller, wide: WidePuller) -> None:
        self._content = content
        self._puller = puller
        self._wide = wide

    async def load(
        self,
        request: ImportRequest,
        receive: Receive,
        reporter: Reporter,
        seen: Seen = lambda *_: None,
    ) -> list[Image]:
        """Read an archive to its end; return the images that were recorded. `seen` learns of each descriptor.

        Raises InvalidArgument, DataLoss and ResourceExhausted for bad archives, NotFound for one that lacks
        a blob or a platform that is asked for, or names no image.
        """
        async with self._puller.leased(self._request(request, request.lease)) as lease:
            archive = await read_archive(self._content, request.namespace, lease, receive, reporter)
            target = await self._index(request, lease, archive)
            images = await self._images(evolve(request, lease=lease), target, reporter, seen)
        if not images:
            raise NotFound("the archive names no image", hint="give a name with which its tags are completed")
        log.info("archive imported", namespace=request.namespace, images=len(images))
        return images

    def _request(self, request: ImportRequest, lease: str) -> PullRequest:
        return PullRequest(request.namespace, _HERE, Platform(), "", source=NothingElse(), lease=lease)

    async def _index(self, request: ImportRequest, lease: str, archive: Archive) -> Descriptor:
        """Return the archive's index, which is content from now on. OCI documents go before Docker's."""
        documents = archive.documents
        if LAYOUT in documents:
            version = load_document(documents[LAYOUT], LAYOUT).get("imageLayoutVersion")
            if version != _VERSION:
                raise InvalidArgument(f"unknown version {str(version)[:20]!r} of the OCI layout")
            if INDEX not in documents:
                raise InvalidArgument(f"the archive is an OCI layout without {INDEX}")
            return await self._keep_index(request.namespace, lease, documents[INDEX])
        if MANIFESTS in documents:
            docker = DockerArchive(
                self._content, request.namespace, lease, archive, compress=request.compress
            )
            return await docker.index()
        raise InvalidArgument(
            "this is no archive of images",
            why=f"neither {LAYOUT} nor {MANIFESTS} is in it",
            hint="OCI layouts and what `docker save` writes are imported, as tar, gzip or zstd",
        )

    async def _keep_index(self, namespace: str, lease: str, data: bytes) -> Descriptor:
        digest = Digest.of(data)
        ref = f"import-{uuid4().hex}"
        try:
            async with self._content.writer(
                namespace, ref, total=len(data), expected=digest, lease=lease
            ) as writer:
                await writer.write(data)
                await writer.commit(size=len(data), expected=digest)
        except AlreadyExists:
            pass
        return Descriptor(OCI_INDEX, digest, len(data))

    async def _images(
        self, request: ImportRequest, target: Descriptor, reporter: Reporter, seen: Seen
    ) -> list[Image]:
        pull = self._request(request, request.lease)
        index = parse_image_document(await self._puller.document(pull, target, request.lease), OCI_INDEX)
        assert isinstance(index, Index)
        images: list[Image] = []
        for entry in suitable(index, request.platforms):
            wide = Wide(pull, request.platforms, request.unpacks, request.names)
            images += await self._wide.pull(wide, entry, reporter, seen)
        names = request.index_names(target)
        await self._puller.gate.require_all(request.namespace, names)
        images += await self._puller.record(request.namespace, (), names, keep_labels=False)
        return images


def suitable(index: Index, wanted: Sequence[Platform]) -> list[Descriptor]:
    """The entries of an archive's index that may hold what is asked for, each name once."""
    accepted = {platforms.normalise(each) for platform in wanted for each in platforms.preference(platform)}
    found = [
        entry
        for entry in index.manifests
        if not wanted or entry.platform is None or platforms.normalise(entry.platform) in accepted
    ]
    if not found:
        platforms.choose(index.manifests, wanted[0] if wanted else Platform())  # says what there is
    return found
