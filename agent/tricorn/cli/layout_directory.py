"""An OCI layout that is a directory, as skopeo and umoci write them, as the archive that the agent reads.

Source: github.com/opencontainers/image-spec, image-layout.md.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from tricorn.errors import DataLoss, InvalidArgument

_CHUNK: Final = 1 << 20
_BLOCK: Final = 512
_MARK: Final = "oci-layout"


class LayoutDirectory:
    """The files of a layout, and `size` bytes of tar that they make. InvalidArgument for another directory.

    Links aren't followed, and nothing but what belongs to a layout is read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        if not os.path.isfile(os.path.join(path, _MARK)):
            raise InvalidArgument(
                f"{path} is no OCI layout",
                why=f"there is no file {_MARK} in it",
                hint="give an archive's file",
            )
        try:
            self._files = list(self._found())
        except OSError as error:
            raise _unreadable(error) from None
        self.size = sum(_BLOCK + size + -size % _BLOCK for _, size in self._files) + 2 * _BLOCK

    def _found(self) -> Iterator[tuple[str, int]]:
        for name in (_MARK, "index.json", "manifest.json"):
            path = os.path.join(self._path, name)
            if os.path.lexists(path):
                yield from self._regular(name)
        blobs = os.path.join(self._path, "blobs")
        for algorithm in sorted(os.listdir(blobs)) if os.path.isdir(blobs) else ():
            for name in sorted(os.listdir(os.path.join(blobs, algorithm))):
                yield from self._regular(f"blobs/{algorithm}/{name}")

    def _regular(self, name: str) -> Iterator[tuple[str, int]]:
        status = os.lstat(os.path.join(self._path, name))
        if stat.S_ISREG(status.st_mode):
            yield name, status.st_size

    def pieces(self) -> Iterator[bytes]:
        """Yield the archive. InvalidArgument for a file that can't be read, DataLoss for one that changes."""
        from tarfile import USTAR_FORMAT, TarInfo

        for name, size in self._files:
            header = TarInfo(name)
            header.size = size
            yield header.tobuf(USTAR_FORMAT)
            yield from self._content(name, size)
            yield bytes(-size % _BLOCK)
        yield bytes(2 * _BLOCK)

    def _content(self, name: str, size: int) -> Iterator[bytes]:
        path = os.path.join(self._path, name)
        try:
            with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW)) as file:
                while size and (data := file.read(min(size, _CHUNK))):
                    size -= len(data)
                    yield data
        except OSError as error:
            raise _unreadable(error) from None
        if size:
            raise DataLoss(f"{path} became shorter while it was read")


def _unreadable(error: OSError) -> InvalidArgument:
    return InvalidArgument(f"{error.filename} can't be read", why=error.strerror or "")
