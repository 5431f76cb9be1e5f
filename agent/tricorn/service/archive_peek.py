"""Looks into an archive of images without taking anything in: what its images are called and made of."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

from attrs import frozen

from tricorn import limits
from tricorn.errors import InvalidArgument, NotFound, ResourceExhausted
from tricorn.fs import decompress
from tricorn.fs.tarheader import CONTIGUOUS, REGULAR
from tricorn.fs.tarstream import TarStream
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_INDEX, Descriptor, Index, parse_image_document
from tricorn.model.transfer import ImageStoreEnd
from tricorn.rules.archive_names import names_in_archive
from tricorn.service.archive_docker import named_images
from tricorn.service.archive_reader import INDEX, LAYOUT, MANIFESTS, checked_name
from tricorn.service.archives import suitable

_DOCUMENTS: Final = frozenset({LAYOUT, INDEX, MANIFESTS})
_CONFIG: Final = re.compile(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?")


@frozen
class Named:
    """An image of an archive: its digest, or with `of_config` its config's, where that is all there is."""

    name: str
    digest: Digest
    of_config: bool = False


def peek(path: str, store: ImageStoreEnd) -> list[Named]:
    """Return the images that an import of the file into `store` would name. Blocks.

    Raises NotFound, InvalidArgument for what is no archive of images.
    """
    try:
        with open_regular(path) as file:
            documents = _documents(file.read)
    except OSError as error:
        raise NotFound(f"{path} can't be read", why=error.strerror or "", field="path") from None
    if INDEX in documents:
        return list(_of_layout(documents[INDEX], store))
    if MANIFESTS in documents:
        return list(_of_docker(documents[MANIFESTS], store))
    raise InvalidArgument(f"{path} is no archive of images", field="path")


def open_regular(path: str) -> BinaryIO:
    """Open a file to read it, never waiting for the other end of a pipe. OSError; InvalidArgument if it is
    something else than a file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidArgument(f"{path} is no regular file", field="path")
    return os.fdopen(descriptor, "rb")


def _documents(read: Any) -> dict[str, bytes]:
    start = read(decompress.DETECT_SIZE)
    compression = decompress.detect(start, "")
    stream = TarStream(decompress.chunks(decompress.prefixed(start, read), compression))
    documents: dict[str, bytes] = {}
    for entry in stream:
        if stream.entries > limits.ARCHIVE_ENTRIES:
            raise ResourceExhausted(
                "the archive has too many entries", why=f"at most {limits.ARCHIVE_ENTRIES}"
            )
        name = checked_name(entry.name)
        if name in _DOCUMENTS and entry.type in {REGULAR, CONTIGUOUS} and entry.size <= limits.MANIFEST_SIZE:
            documents[name] = stream.read(entry.size)
    return documents


def _of_layout(data: bytes, store: ImageStoreEnd) -> Iterator[Named]:
    index = parse_image_document(data, OCI_INDEX)
    assert isinstance(index, Index)
    for entry in suitable(index, store.platforms):
        for name in names_in_archive(entry, store.references):
            yield Named(name, entry.digest)


def _of_docker(data: bytes, store: ImageStoreEnd) -> Iterator[Named]:
    for config, notes in named_images(data):
        match = _CONFIG.fullmatch(config)
        digest = Digest(f"sha256:{match[1]}") if match else Digest("")
        for name in names_in_archive(_entry(digest, notes), store.references):
            yield Named(name, digest, of_config=True)


def _entry(digest: Digest, annotations: Mapping[str, str]) -> Descriptor:
    return Descriptor("", digest, 0, annotations=annotations)
