"""Bounded decompression of a layer: gzip (many members), zstd (many frames) or none.

Output never grows faster than `limits.py` allows, whatever the input. Imported by the layer extractor
only; needs `isal` and `zstandard`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO, Final, cast

import zstandard
from isal import igzip_lib

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted
from tricorn.fs.zstdframes import ZstdFrames

Read = Callable[[int], bytes]  # up to so many bytes, b"" at the end of the source

OUTPUT_CHUNK: Final = 256 * limits.KIB  # stays in the cache between decompression, hash and write
_GZIP_ERROR: Final = cast("type[Exception]", igzip_lib.IsalError)
_INPUT_CHUNK: Final = 256 * limits.KIB


def detect(start: bytes, declared: str) -> str:
    """Return the compression of a layer by its first bytes; `declared` counts where they say nothing.

    Layers whose media type is wrong about it are common, and the reference client reads them too.
    """
    if start[:3] == b"\x1f\x8b\x08":
        return "gzip"
    if start[:4] == b"\x28\xb5\x2f\xfd" or (start[1:4] == b"\x2a\x4d\x18" and 0x50 <= start[0] <= 0x5F):
        return "zstd"
    return "" if start[257:262] == b"ustar" else declared


def chunks(read: Read, compression: str) -> Iterator[bytes]:
    """Yield the decompressed bytes of `read`'s source in chunks.

    Raises InvalidArgument for damaged or cut data, ResourceExhausted for a bomb.
    """
    if compression == "gzip":
        return _bounded(_gunzip, read, limits.MIB)
    if compression == "zstd":
        return _bounded(_unzstd, read, limits.ZSTD_FREE_OUTPUT)
    return _bounded(_plain, read, limits.MIB)


def _bounded(decompress: Callable[[Read], Iterator[bytes]], read: Read, free: int) -> Iterator[bytes]:
    """Enforce the ratio of output to input once more than `free` bytes came out, and the total."""
    consumed = produced = 0

    def counted(count: int) -> bytes:
        nonlocal consumed
        data = read(count)
        consumed += len(data)
        return data

    for chunk in decompress(counted):
        produced += len(chunk)
        if produced > limits.LAYER_UNPACKED_SIZE:
            raise ResourceExhausted(
                "the layer is too large", why=f"more than {limits.LAYER_UNPACKED_SIZE} bytes unpacked"
            )
        if produced > free + consumed * limits.DECOMPRESSION_RATIO:
            raise ResourceExhausted(
                "the layer is a decompression bomb",
                why=f"{consumed} bytes grew to {produced}, more than {limits.DECOMPRESSION_RATIO} fold",
            )
        yield chunk


def _plain(read: Read) -> Iterator[bytes]:
    while data := read(OUTPUT_CHUNK):
        yield data


def _gunzip(read: Read) -> Iterator[bytes]:
    data = read(_INPUT_CHUNK)
    while True:
        member = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP)
        while not member.eof:
            if member.needs_input and not data and not (data := read(_INPUT_CHUNK)):
                raise InvalidArgument("the layer is not valid gzip", why="it ends within a member")
            try:
                output = member.decompress(data, OUTPUT_CHUNK)
            except _GZIP_ERROR as error:
                raise InvalidArgument("the layer is not valid gzip", why=str(error)) from error
            data = b""
            if output:
                yield output
        # Zero bytes pad the end of some files, as gzip(1) accepts.
        data = member.unused_data
        while not (data := data.lstrip(b"\0")):
            if not (data := read(_INPUT_CHUNK)):
                return


def _unzstd(read: Read) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=limits.ZSTD_WINDOW)
    source = _Source(read)
    reader = decompressor.stream_reader(
        cast("IO[bytes]", source), read_size=_INPUT_CHUNK, read_across_frames=True
    )
    while True:
        try:
            output = reader.read(OUTPUT_CHUNK)
        except zstandard.ZstdError as error:
            why = str(error)
            if "too much memory" in why:
                raise ResourceExhausted(
                    "the layer's zstd window is too large", why=f"at most {limits.ZSTD_WINDOW} bytes"
                ) from error
            raise InvalidArgument("the layer is not valid zstd", why=why) from error
        if not output:
            if not source.frames.complete:
                raise InvalidArgument("the layer is not valid zstd", why="it ends within a frame")
            return
        yield output


class _Source:
    """What zstandard reads from: an object with `read`. Keeps track of the frames that pass."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.frames = ZstdFrames()

    def read(self, count: int) -> bytes:
        data = self._read(count)
        self.frames.feed(data)
        return data


DETECT_SIZE: Final = 512


def prefixed(start: bytes, read: Read) -> Read:
    """Return a reader that gives `start` first, then what `read` gives."""
    rest = start

    def reader(count: int) -> bytes:
        nonlocal rest
        if rest:
            data, rest = rest[:count], rest[count:]
            return data
        return read(count)

    return reader
