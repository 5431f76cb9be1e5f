"""Reads a checkpoint archive as it comes: the dump into the content store, the rest is small or put aside.

A worker thread parses; the archive's names are never names of files here. Only files and directories may be
in it: a link could have CRIU, or a reader of the log, open a file of the host's (CVE-2026-53489).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final
from uuid import uuid4

import trio
from attrs import define, field

from tricorn import limits
from tricorn.errors import AlreadyExists, InvalidArgument, ResourceExhausted, TricornError
from tricorn.fs.tarheader import CONTIGUOUS, DIRECTORY, REGULAR, Entry, show
from tricorn.fs.tarstream import TarStream
from tricorn.fs.tarwriter import Sink, TarWriter
from tricorn.model import checkpoints
from tricorn.model.oci import OCI_LAYER, Descriptor
from tricorn.rules.checkpoint_archive import DOCUMENTS, Part, part_of, warning_of, whiteouts
from tricorn.service.archive_reader import checked_name
from tricorn.service.archive_source import ArchiveSource, unpacked
from tricorn.store.content import ContentStore

_LIMITER: Final = trio.CapacityLimiter(2)
_MODE: Final = 0o600
_GZIP: Final = 31  # zlib's `wbits` for a gzip header, which then holds no time
_INVENTORY: Final = "inventory.img"


@define
class Held:
    """What an archive held beside its dump. `rw` is open until `close`."""

    documents: dict[Part, bytes] = field(factory=dict)
    names: set[str] = field(factory=set)  # of the dump's files
    warnings: set[str] = field(factory=set)
    rw: int = -1  # a nameless file: the changes of the root file system, as a tar
    rw_size: int = 0

    def close(self) -> None:
        if self.rw >= 0:
            os.close(self.rw)
            self.rw = -1


async def read_dump_archive(
    content: ContentStore, namespace: str, lease: str, source: ArchiveSource, directory: str, held: Held
) -> Descriptor:
    """Bring the dump of an archive (tar, or tar in gzip or zstd) into the namespace, the rest into `held`.

    `directory` takes what is put aside. InvalidArgument for what is no checkpoint or holds more than files,
    ResourceExhausted over the limits, Unimplemented for pre-checkpoints and pods.
    """

    def read(write: Sink) -> None:
        writer = TarWriter(write)
        _Reader(held, writer, directory).run(TarStream(source.unpacked()))

    secret = {checkpoints.PRIVATE: "true"}
    return await _store(content, namespace, lease, checkpoints.DUMP, read, secret)


async def store_changes(content: ContentStore, namespace: str, lease: str, held: Held) -> Descriptor | None:
    """Make a layer of what the container had changed: whiteouts for what it deleted, then its files."""
    deleted = whiteouts(held.documents.get(Part.DELETED, b"null"))
    if held.rw < 0 and not deleted:
        return None

    def write_layer(write: Sink) -> None:
        packer = zlib.compressobj(1, wbits=_GZIP)
        for data in _changes(held, deleted):
            if packed := packer.compress(data):
                write(packed)
        write(packer.flush())

    return await _store(content, namespace, lease, f"{OCI_LAYER}+gzip", write_layer, {})


def _changes(held: Held, deleted: list[bytes]) -> Iterator[bytes]:
    pieces: list[bytes] = []
    writer = TarWriter(pieces.append)
    for name in deleted:
        writer.add(name, REGULAR, mode=_MODE)
    if held.rw < 0:
        writer.finish()
        yield from pieces
        return
    writer.flush()  # the end of the archive is that of the container's own
    yield from pieces
    os.lseek(held.rw, 0, os.SEEK_SET)
    while data := os.read(held.rw, limits.TRANSFER_BUFFER):
        yield data


async def _store(
    content: ContentStore, namespace: str, lease: str, media_type: str,
    make: Callable[[Sink], None], labels: dict[str, str],
) -> Descriptor:  # fmt: skip
    """Store what a thread makes. Nothing is left of it when that fails."""
    ref = f"checkpoint-import-{uuid4().hex}"
    try:
        async with content.writer(namespace, ref, lease=lease) as writer:

            def write(data: bytes) -> None:
                trio.from_thread.run(writer.write, data)

            await trio.to_thread.run_sync(make, write, limiter=_LIMITER)
            made = Descriptor(media_type, writer.digest, writer.offset)
            with suppress(AlreadyExists):
                await writer.commit(size=made.size, labels=labels)
    except BaseException:
        deadline = trio.current_time() + limits.CLEANUP_DEADLINE
        with trio.CancelScope(shield=True, deadline=deadline), suppress(TricornError):
            await content.abort(namespace, ref)
        raise
    return made


class _Reader:
    """The thread's side."""

    def __init__(self, held: Held, dump: TarWriter, directory: str) -> None:
        self._held = held
        self._dump = dump
        self._directory = directory

    def run(self, stream: TarStream) -> None:
        try:
            for entry in stream:
                self._entry(stream, entry)
            stream.drain()
        except InvalidArgument as error:
            why = str(error).replace("the layer is", "it is")  # the parser's words, which mostly reads layers
            raise InvalidArgument("the archive can't be imported", why=why, hint=error.hint) from None
        self._dump.finish()
        missing = [part.value for part in (Part.CONFIG, Part.SPEC) if part not in self._held.documents]
        missing += [] if _INVENTORY in self._held.names else [f"{Part.DUMP.value}/{_INVENTORY}"]
        if missing:
            raise InvalidArgument(
                "this is no archive of a checkpoint", why=f"it has no {', '.join(missing)}",
                hint="`podman container checkpoint --export` and CRI's CheckpointContainer write them",
            )  # fmt: skip

    def _entry(self, stream: TarStream, entry: Entry) -> None:
        name = checked_name(entry.name)
        if entry.type == DIRECTORY:
            return
        if entry.type not in {REGULAR, CONTIGUOUS}:
            raise InvalidArgument(f"tar entry {show(entry.name)} is refused", why="it is no file")
        part = part_of(name)
        if part is Part.DUMP:
            self._image(stream, name, entry.size)
        elif part is Part.RW:
            self._put_aside(stream, entry.size)
        elif part in DOCUMENTS:
            self._document(stream, part, entry.size)
        elif stream.entries > limits.DUMP_FILES:
            raise ResourceExhausted("the archive has too many entries", why=f"at most {limits.DUMP_FILES}")
        elif warning := warning_of(name):
            self._held.warnings.add(warning)

    def _image(self, stream: TarStream, name: str, size: int) -> None:
        file = name.partition("/")[2]
        if file in self._held.names:
            raise InvalidArgument(f"{name} is twice in it")
        self._held.names.add(file)
        if len(self._held.names) > limits.DUMP_FILES:
            raise ResourceExhausted("the dump has too many files", why=f"over {limits.DUMP_FILES}")
        self._dump.add(file.encode(), REGULAR, mode=_MODE, size=size)
        self._dump.fill(stream.read, size)

    def _document(self, stream: TarStream, part: Part, size: int) -> None:
        if size > limits.MANIFEST_SIZE:
            raise ResourceExhausted(f"{part.value} is too large", why=f"over {limits.MANIFEST_SIZE} bytes")
        if part in self._held.documents:
            raise InvalidArgument(f"{part.value} is twice in it")
        self._held.documents[part] = stream.read(size)

    def _put_aside(self, stream: TarStream, size: int) -> None:
        """Keep the changes of the file system, which are packed in some archives, in a nameless file."""
        held = self._held
        if held.rw >= 0:
            raise InvalidArgument(f"{Part.RW.value} is twice in it")
        os.makedirs(self._directory, 0o700, exist_ok=True)
        held.rw = os.open(self._directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, _MODE)
        left = size

        def read(count: int) -> bytes:
            nonlocal left
            data = stream.read(min(count, left))
            left -= len(data)
            return data

        for data in unpacked(read):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(held.rw, rest) :]
            held.rw_size += len(data)
            if held.rw_size > limits.LAYER_UNPACKED_SIZE:
                raise ResourceExhausted(f"{Part.RW.value} is too large")
