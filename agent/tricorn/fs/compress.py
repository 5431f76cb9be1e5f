"""Compression of layers that we write: the same input gives the same bytes, on one version of a library.

Imported by the children of the fork server only; needs `isal` and `zstandard`.
"""

from __future__ import annotations

from typing import Final, Protocol

import zstandard
from isal import isal_zlib

_GZIP_LEVEL: Final = 2  # a twelfth of the time that zlib's level 6 takes, for a seventh more bytes
_GZIP_FORMAT: Final = 31  # zlib's `wbits` for a gzip header, which then holds no time and no name
# Level 1 makes less of a layer than gzip does here, in as much time; level 3 takes 2.5 times as long for a
# tenth fewer bytes: worth it where an image is made once for many to pull, not while a client waits.
_ZSTD_LEVEL: Final = 1
_ZSTD_LEVEL_DENSE: Final = 3
_ZSTD_THREADS: Final = 2  # any number of them gives the same bytes, none at all gives others
_ZSTD_JOB: Final = (
    2 << 20
)  # bytes that a thread takes at a time; by default 8 MiB, which costs 50 MiB of memory


class Compressor(Protocol):
    def compress(self, data: bytes) -> bytes: ...

    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def compressor(kind: str, *, dense: bool = False) -> Compressor:
    """Return a compressor for `gzip`, `zstd` or "" (none); a `dense` one takes its time with zstd."""
    if kind == "gzip":
        made: Compressor = isal_zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_FORMAT)
        return made
    if kind == "zstd":
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _ZSTD_LEVEL_DENSE if dense else _ZSTD_LEVEL,
            threads=_ZSTD_THREADS,
            job_size=_ZSTD_JOB,
            write_checksum=1,
        )
        packer = zstandard.ZstdCompressor(compression_params=parameters)
        return packer.compressobj()
    return _Plain()
