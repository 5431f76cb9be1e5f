"""What a target brings from a registry, where a container doesn't come straight."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial
from typing import Final

import trio
from attrs import define, frozen

from tricorn import limits
from tricorn.errors import AlreadyExists, DataLoss, InvalidArgument
from tricorn.fs import dump_files
from tricorn.model.checkpoints import PRIVATE
from tricorn.model.oci import Descriptor
from tricorn.model.reference import Reference
from tricorn.ports import Registry
from tricorn.private_directories import make_directory
from tricorn.rules.migration_image import parts_in
from tricorn.store.content import ContentStore

_LIMITER: Final = trio.CapacityLimiter(2)


@define(eq=False)
class _File:
    """Implements `ports.BlobSink`: a file that only root may read. `heard` is called with each piece."""

    fd: int
    heard: Callable[[], None]
    offset: int = 0

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self.heard()
        await trio.to_thread.run_sync(_write_all, self.fd, data, limiter=_LIMITER)
        self.offset += len(data)


@frozen
class Pulls:
    """Pulls from one repository into one namespace. `heard` is called while something comes."""

    content: ContentStore
    registry: Registry
    namespace: str
    lease: str
    repository: Reference
    plain_http: bool
    heard: Callable[[], None]

    async def blob(self, blob: Descriptor, *, secret: bool = False) -> None:
        """Bring a blob into the content store. DataLoss if it isn't what its digest says."""
        name = f"migration-{self.lease}-{blob.digest.hex[:16]}"
        async with self.content.writer(self.namespace, name, lease=self.lease) as writer:
            if writer.offset:
                await writer.truncate()
            # as a blob, whatever it is: documents of an image are pushed as such, too
            plain = Descriptor("application/octet-stream", blob.digest, blob.size)
            await self.registry.fetch(self.repository, plain, writer, plain_http=self.plain_http)
            self.heard()
            if writer.digest != blob.digest:
                await writer.discard()
                raise DataLoss(f"{blob.digest} arrived damaged")
            try:
                await writer.commit(expected=blob.digest, labels={PRIVATE: "true"} if secret else {})
            except AlreadyExists:
                return

    async def dump(self, image: Descriptor, directory: str) -> None:
        """Lay out the dump of an image in `directory`/dump, past the content store, and bring its layer."""
        if image.size > limits.MANIFEST_SIZE:
            raise InvalidArgument("the image's manifest is too large")
        document = await self.registry.fetch_document(self.repository, image, plain_http=self.plain_http)
        dump, layer = parts_in(document)
        if dump.size > limits.MIGRATION_SIZE:
            raise InvalidArgument("it is too large", why=f"over {limits.MIGRATION_SIZE} bytes")
        if layer is not None:
            await self.blob(layer, secret=True)
        path = f"{directory}/dump"
        await trio.to_thread.run_sync(partial(make_directory, path), limiter=_LIMITER)
        archive = f"{directory}/dump.tar"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(archive, flags, 0o600)
        try:
            await self.registry.fetch(
                self.repository, dump, _File(fd, self.heard), plain_http=self.plain_http
            )
            found = await trio.to_thread.run_sync(_digest, fd, limiter=_LIMITER)
        finally:
            os.close(fd)
        if found != dump.digest.hex:
            raise DataLoss(f"{dump.digest} arrived damaged")
        await trio.to_thread.run_sync(dump_files.unpack, archive, path, limiter=_LIMITER)
        os.unlink(archive)


def _write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _digest(fd: int) -> str:
    os.lseek(fd, 0, os.SEEK_SET)
    with open(os.dup(fd), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
