"""Reads an image archive as it comes: documents into memory, blobs into the content store.

The parser is a worker thread's, which waits for bytes and hands them on through Trio; so nothing of the
archive is on disk but blobs in the making, and memory holds a few buffers. Names in the archive are never
names of files here.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

import trio
from attrs import define, field, frozen

from tricorn import limits
from tricorn.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    TricornError,
)
from tricorn.fs.tarheader import CONTIGUOUS, DIRECTORY, REGULAR, SYMLINK, Entry, show
from tricorn.fs.tarstream import TarStream
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.ports import ContentStore
from tricorn.service.archive_source import ArchiveSource, Receive
from tricorn.service.progress import Item, Reporter

__all__ = ["INDEX", "LAYOUT", "MANIFESTS", "Archive", "Part", "Receive", "checked_name", "read_archive"]
LAYOUT: Final = "oci-layout"
INDEX: Final = "index.json"
MANIFESTS: Final = "manifest.json"
_DOCUMENTS: Final = frozenset({LAYOUT, INDEX, MANIFESTS})
_BLOB: Final = re.compile(r"blobs/([a-z0-9]{1,32})/([0-9a-f]{32,128})")
_UNUSED: Final = frozenset({"repositories", "VERSION", "json"})  # of Docker's older form
_NAME: Final = 1024
_limiter: Final = trio.CapacityLimiter(limits.ARCHIVE_IMPORTS)


@frozen
class Part:
    """A file of the archive that is in the content store now."""

    digest: Digest
    size: int


@define
class Archive:
    """What an archive held: the documents, the parts by name, links between names."""

    documents: dict[str, bytes] = field(factory=dict)
    parts: dict[str, Part] = field(factory=dict)
    links: dict[str, str] = field(factory=dict)

    def part(self, name: str) -> Part | None:
        """Return the part of this name, through links."""
        for _ in range(8):
            if name in self.parts:
                return self.parts[name]
            if name not in self.links:
                return None
            name = self.links[name]
        return None


async def read_archive(
    content: ContentStore,
    namespace: str,
    lease: str,
    receive: Receive,
    reporter: Reporter | None = None,
) -> Archive:
    """Bring all blobs of an archive (tar, or tar in gzip or zstd) into the namespace, held by `lease`.

    Raises InvalidArgument for what is no archive or holds what no image archive has, DataLoss for a blob
    that isn't what its name says, ResourceExhausted for documents or numbers of entries over the limits.
    """
    reader = _Reader(content, namespace, lease, receive, reporter or Reporter())
    return await trio.to_thread.run_sync(reader.run, limiter=_limiter)


class _Reader:
    """The thread's side."""

    def __init__(
        self, content: ContentStore, namespace: str, lease: str, receive: Receive, reporter: Reporter
    ) -> None:
        self._content = content
        self._namespace = namespace
        self._lease = lease
        self._source = ArchiveSource(receive, reporter)
        self._reporter = reporter
        self._work = f"import-{uuid4().hex[:12]}"

    def run(self) -> Archive:
        archive = Archive()
        try:
            stream = TarStream(self._source.unpacked())
            for entry in stream:
                if stream.entries > limits.ARCHIVE_ENTRIES:
                    raise ResourceExhausted(
                        "the archive has too many entries", why=f"at most {limits.ARCHIVE_ENTRIES}"
                    )
                self._entry(archive, stream, entry)
            stream.drain()
        except InvalidArgument as error:
            why = str(error).replace("the layer is", "it is")  # the parser's words, which mostly reads layers
            raise InvalidArgument("the archive can't be imported", why=why, hint=error.hint) from None
        return archive

    def _entry(self, archive: Archive, stream: TarStream, entry: Entry) -> None:
        name = checked_name(entry.name)
        if entry.type == SYMLINK:
            archive.links[name] = checked_name(
                posixpath.join(posixpath.dirname(name), _text(entry.link)).encode()
            )
        elif entry.type in {REGULAR, CONTIGUOUS}:
            self._file(archive, stream, name, entry.size)
        elif entry.type != DIRECTORY:
            raise InvalidArgument(f"tar entry {show(entry.name)} is refused", why="it is no file")

    def _file(self, archive: Archive, stream: TarStream, name: str, size: int) -> None:
        if name in _DOCUMENTS:
            if size > limits.MANIFEST_SIZE:
                raise ResourceExhausted(
                    f"{name} of the archive is too large",
                    why=f"{size} bytes, at most {limits.MANIFEST_SIZE}",
                )
            archive.documents[name] = stream.read(size)
        elif match := _BLOB.fullmatch(name):
            digest = Digest.parse(f"{match[1]}:{match[2]}", name)
            archive.parts[name] = self._blob(stream, size, digest)
        elif name.rpartition("/")[2] not in _UNUSED:
            archive.parts[name] = self._blob(stream, size, None)

    def _blob(self, stream: TarStream, size: int, expected: Digest | None) -> Part:
        """Ingest the current entry; its payload stays unread when the namespace has it already."""
        found = hashlib.sha256()
        feed = _Feed(stream, size, found if expected is None else None)
        trio.from_thread.run(self._ingest, feed, expected)
        return Part(expected or Digest(f"sha256:{found.hexdigest()}"), size)

    async def _ingest(self, feed: _Feed, expected: Digest | None) -> None:
        ref = f"{self._work}-{expected or uuid4().hex}"
        try:
            async with self._content.writer(
                self._namespace, ref, total=feed.left, expected=expected, lease=self._lease
            ) as writer:
                size = feed.left
                item = self._item(expected, size)
                while data := await trio.to_thread.run_sync(feed.next, limiter=_feeders):
                    await writer.write(data)
                    item.phase, item.offset = "read", writer.offset
                item.phase = "verify"
                await writer.commit(size=size, expected=expected)
                item.finish()
        except AlreadyExists:
            return
        except BaseException as error:
            await self._drop(ref)
            if isinstance(error, FailedPrecondition):
                why = str(error)
                raise DataLoss(f"blob {expected or ''} of the archive is damaged", why=why) from None
            raise

    def _item(self, digest: Digest | None, size: int) -> Item:
        """Show a blob; what Docker calls by other names than digests shows in the number of bytes only."""
        descriptor = Descriptor("", digest or Digest(""), size)
        return self._reporter.item(descriptor) if digest else Item(descriptor)

    async def _drop(self, ref: str) -> None:
        """Leave no half blob behind."""
        deadline = trio.current_time() + limits.CLEANUP_DEADLINE
        with trio.CancelScope(shield=True, deadline=deadline), suppress(TricornError):
            await self._content.abort(self._namespace, ref)


_feeders: Final = trio.CapacityLimiter(limits.ARCHIVE_IMPORTS)


@define
class _Feed:
    """The payload of one entry, in pieces."""

    stream: TarStream
    left: int
    hash: Any

    def next(self) -> bytes:
        data = self.stream.read(min(self.left, limits.TRANSFER_BUFFER))
        self.left -= len(data)
        if self.hash is not None:
            self.hash.update(data)
        return data


def checked_name(name: bytes) -> str:
    """Return an entry's name in its plain form; InvalidArgument for one that leaves the archive."""
    text = _text(name)
    plain = posixpath.normpath(text)
    if len(text) > _NAME or text.startswith("/") or ".." in plain.split("/") or "\0" in text:
        raise InvalidArgument(f"tar entry {show(name)} is refused", why="its name leads out of the archive")
    return plain


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise InvalidArgument(f"tar entry {show(name)} is refused", why="its name is not UTF-8") from None
