"""Compression of layers that we write: the same input gives the same bytes, on one version of a library.

Imported by the children of the fork server only; needs `isal` and `zstandard`.
"""

from __future__ import annotations

from typing import Final, Protocol

import zstandard
from isal import isal_zlib

_GZIP_LEVEL: Final = 2  # a twelfth of the time that zlib's level 6 takes, for a seventh more bytes
_GZIP_FORMAT: Final = 31  # zlib's `wbits` for a gzip header, which then holds no time and no name
_ZSTD_LEVEL: Final = 3
_ZSTD_THREADS: Final = 2  # any number of them gives the same bytes, none at all gives others


class Compressor(Protocol):
    def compress(self, data: bytes) -> bytes: ...

    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def compressor(kind: str) -> Compressor:
    """Return a compressor for `gzip`, `zstd` or "" (none)."""
    if kind == "gzip":
        made: Compressor = isal_zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_FORMAT)
        return made
    if kind == "zstd":
        packer = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True, threads=_ZSTD_THREADS)
        return packer.compressobj()
    return _Plain()
