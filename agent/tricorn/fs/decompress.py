"""Bounded decompression of a layer: gzip (many members), zstd (many frames) or none.

Output never grows faster than `limits.py` allows, whatever the input. Imported by the layer extractor
only; needs `isal` and `zstandard`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import IO, Final, cast

import zstandard
from isal import igzip_lib

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted
from tricorn.fs.zstdframes import ZstdFrames

Read = Callable[[int], bytes]  # up to so many bytes, b"" at the end of the source
Fill = Callable[[memoryview], int]  # puts bytes into a buffer and returns how many, 0 at the end

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


def filler(read: Read, compression: str) -> Fill:
    """Return what puts the decompressed bytes of `read`'s source into buffers.

    Its calls raise InvalidArgument for damaged or cut data, ResourceExhausted for a bomb.
    """
    if compression == "gzip":
        return _bounded(_gunzip, read, limits.MIB)
    if compression == "zstd":
        return _bounded(_unzstd, read, limits.ZSTD_FREE_OUTPUT)
    return _bounded(_plain, read, limits.MIB)


def chunks(read: Read, compression: str) -> Iterator[bytes]:
    """Yield the decompressed bytes of `read`'s source in chunks. Raises as the calls of `filler`."""
    fill = filler(read, compression)
    room = memoryview(bytearray(OUTPUT_CHUNK))
    while count := fill(room):
        yield bytes(room[:count])


def _bounded(decompress: Callable[[Read], Fill], read: Read, free: int) -> Fill:
    """Enforce the ratio of output to input once more than `free` bytes came out, and the total."""
    consumed = produced = 0

    def counted(count: int) -> bytes:
        nonlocal consumed
        data = read(count)
        consumed += len(data)
        return data

    fill = decompress(counted)

    def bounded(view: memoryview) -> int:
        nonlocal produced
        count = fill(view)
        produced += count
        if produced > limits.LAYER_UNPACKED_SIZE:
            raise ResourceExhausted(
                "the layer is too large", why=f"more than {limits.LAYER_UNPACKED_SIZE} bytes unpacked"
            )
        if produced > free + consumed * limits.DECOMPRESSION_RATIO:
            raise ResourceExhausted(
                "the layer is a decompression bomb",
                why=f"{consumed} bytes grew to {produced}, more than {limits.DECOMPRESSION_RATIO} fold",
            )
        return count

    return bounded


def _plain(read: Read) -> Fill:
    def fill(view: memoryview) -> int:
        data = read(len(view))
        view[: len(data)] = data
        return len(data)

    return fill


def _gunzip(read: Read) -> Fill:
    members = _members(read)
    next(members)

    def fill(view: memoryview) -> int:
        output = members.send(len(view))
        view[: len(output)] = output
        return len(output)

    return fill


def _members(read: Read) -> Generator[bytes, int, None]:
    """Give up to as many bytes as are asked for by `send`; b"" at the end, for ever."""
    room = yield b""
    data = read(_INPUT_CHUNK)
    more = True
    while more:
        member = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP)
        while not member.eof:
            if member.needs_input and not data and not (data := read(_INPUT_CHUNK)):
                raise InvalidArgument("the layer is not valid gzip", why="it ends within a member")
            try:
                output = member.decompress(data, room)
            except _GZIP_ERROR as error:
                raise InvalidArgument("the layer is not valid gzip", why=str(error)) from error
            data = b""
            if output:
                room = yield output
        # Zero bytes pad the end of some files, as gzip(1) accepts.
        data = member.unused_data
        while more and not (data := data.lstrip(b"\0")):
            data = read(_INPUT_CHUNK)
            more = bool(data)
    while True:
        yield b""


def _unzstd(read: Read) -> Fill:
    decompressor = zstandard.ZstdDecompressor(max_window_size=limits.ZSTD_WINDOW)
    source = _Source(read)
    reader = decompressor.stream_reader(
        cast("IO[bytes]", source), read_size=_INPUT_CHUNK, read_across_frames=True
    )

    def fill(view: memoryview) -> int:
        try:
            count = reader.readinto(view)
        except zstandard.ZstdError as error:
            why = str(error)
            if "too much memory" in why:
                raise ResourceExhausted(
                    "the layer's zstd window is too large", why=f"at most {limits.ZSTD_WINDOW} bytes"
                ) from error
            raise InvalidArgument("the layer is not valid zstd", why=why) from error
        if not count and not source.frames.complete:
            raise InvalidArgument("the layer is not valid zstd", why="it ends within a frame")
        return count

    return fill


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
