"""The ways that a container's image, files and memory go to the target: straight to it, or by a registry.

What the nodes say to each other goes straight to the target in either case.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import BinaryIO, Final, Protocol

import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import FailedPrecondition
from tricorn.failpoints import failpoint
from tricorn.fs import dump_files
from tricorn.fs.dump_transfer import DumpUpload, FileUpload
from tricorn.model.checkpoints import DUMP
from tricorn.model.ids import Digest
from tricorn.model.migrations import Answer, Pull
from tricorn.model.oci import Descriptor
from tricorn.ports import Push
from tricorn.registry.peer_link import PeerLink
from tricorn.rules.migration_image import empty, image_of
from tricorn.service.nurseries import typed_nursery
from tricorn.store.codec import to_json
from tricorn.structuring import structure

_LIMITER: Final = trio.CapacityLimiter(2)
Sent = Callable[[int], None]  # is told of each piece
Note = Callable[[str, tuple[str, ...]], Awaitable[None]]
Total = Callable[[int], None]  # is told how much it is going to be


class Way(Protocol):
    async def blob(self, blob: Descriptor, path: str, sent: Sent) -> None:
        """Bring the file at `path` there."""
        ...

    async def dump(self, place: str, rest: tuple[str, Descriptor] | None, total: Total, sent: Sent) -> int:
        """Bring the dump in `place`/images there, and the layer of what changed last; return the dump's
        size in bytes.
        """
        ...


@frozen
class Straight:
    """`path` is the migration's at the target's door for nodes."""

    link: PeerLink
    path: str

    async def blob(self, blob: Descriptor, path: str, sent: Sent) -> None:
        await self.link.send("PUT", f"{self.path}/blobs/{blob.digest}", FileUpload(path, blob.size, sent))

    async def dump(self, place: str, rest: tuple[str, Descriptor] | None, total: Total, sent: Sent) -> int:
        upload = await trio.to_thread.run_sync(DumpUpload, f"{place}/images", sent, limiter=_LIMITER)
        total(upload.length + (rest[1].size if rest else 0))
        if rest:
            await self.blob(rest[1], rest[0], sent)
        await self.link.send("PUT", f"{self.path}/dump", upload)
        return upload.length


@asynccontextmanager
async def kept_heard(link: PeerLink, path: str) -> AsyncIterator[None]:
    """Let the target know within that the source lives, though nothing else comes straight from it."""

    async def ask_on() -> None:
        while True:
            await trio.sleep(limits.MIGRATION_IDLE / 4)
            await link.ask("GET", path)

    async with typed_nursery() as nursery:
        nursery.start_soon(ask_on)
        yield
        nursery.cancel_scope.cancel()


class ByRegistry:
    """`to` pushes to a repository, from which the target pulls when it is told the digest. `note` is called
    with the digests of the dump's manifest and blobs before any of them is sent.
    """

    def __init__(self, link: PeerLink, path: str, to: Push, note: Note) -> None:
        self._link = link
        self._path = path
        self._to = to
        self._note = note

    async def blob(self, blob: Descriptor, path: str, sent: Sent) -> None:
        async with kept_heard(self._link, self._path):
            await self._to.blob(blob, path, sent=_steps(sent))

    async def dump(self, place: str, rest: tuple[str, Descriptor] | None, total: Total, sent: Sent) -> int:
        archive = f"{place}/dump.tar"
        digest, size = await trio.to_thread.run_sync(_pack, f"{place}/images", archive, limiter=_LIMITER)
        dump = Descriptor(DUMP, digest, size)
        parts = [(archive, dump), *([rest] if rest else ())]
        total(sum(part.size for _, part in parts))
        image, document = image_of([part for _, part in parts])
        await self._note(str(image.digest), tuple(str(part.digest) for _, part in parts))
        for path, part in parts:
            await self.blob(part, path, sent)
        nothing, data = empty()
        config = f"{place}/config.json"
        await trio.to_thread.run_sync(_write, config, data, limiter=_LIMITER)
        await self._to.blob(nothing, config)
        await self._to.manifest(image, document)
        failpoint("departure.pushed")
        await self._have_pulled(image)
        return size

    async def _have_pulled(self, image: Descriptor) -> None:
        answer = Answer("seeded")
        while answer.state == "seeded" and not answer.dumped:
            found = await self._link.ask("POST", f"{self._path}/pull", to_json(Pull(image)))
            answer = structure(found, Answer, "the target's answer")
        if not answer.dumped:
            raise FailedPrecondition("the target gave up", why=answer.reason)


def _steps(sent: Sent) -> Sent:
    """Return what is told how much of a blob is there, which may be less again, and tells how much came."""
    reached = 0

    def note(offset: int) -> None:
        nonlocal reached
        if offset > reached:
            sent(offset - reached)
            reached = offset

    return note


def _pack(directory: str, archive: str) -> tuple[Digest, int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(archive, flags, 0o600), "wb", buffering=limits.MIB) as file:
        dump_files.pack(directory, lambda data: _put(file, data))
        size = file.tell()
    with open(archive, "rb") as file:
        return Digest.parse(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"), size


def _put(file: BinaryIO, data: bytes) -> None:
    file.write(data)


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
