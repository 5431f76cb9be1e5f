"""Sparse members of GNU tar: the old header form and the PAX forms 0.0, 0.1 and 1.0.

Imported by the layer extractor: no third-party module.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tricorn import limits
from tricorn.errors import ResourceExhausted
from tricorn.fs.tarheader import Entry, Refusal, malformed, number

if TYPE_CHECKING:
    from tricorn.fs.tarstream import TarStream

_SEGMENTS: Final = 65536


def restore(stream: TarStream, entry: Entry, fd: int) -> None:
    """Write a sparse member's segments to the new file `fd` and set its size; holes stay holes."""
    records = entry.pax or {}
    if entry.segments is not None:
        _write(stream, fd, entry.segments, entry.size, entry.real_size)
        return
    size_text = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size")
    if size_text is None:
        raise Refusal("a sparse file has no size")
    size = _number(size_text)
    if size > limits.LAYER_UNPACKED_SIZE:
        raise ResourceExhausted("a sparse file is too large", why=f"{size} bytes")
    if records.get(b"GNU.sparse.major") == b"1":
        segments, payload = _leading_map(stream, entry.size)
    else:
        numbers = [_number(part) for part in records.get(b"GNU.sparse.map", b"").split(b",") if part]
        segments, payload = _pairs(numbers), entry.size
    _write(stream, fd, segments, payload, size)


def read_old_map(entry: Entry, gather: Callable[[int], bytes]) -> None:
    """Read the map of the old GNU form: in the header, and in blocks that follow it. InvalidArgument."""
    block, start, count, more = entry.block, 386, 4, 482
    entry.real_size = number(block[483:495])
    entry.segments = []
    if not 0 <= entry.real_size <= limits.LAYER_UNPACKED_SIZE:
        raise malformed(f"the size of a sparse file is {entry.real_size}", entry.name)
    while True:
        for position in range(start, start + 24 * count, 24):
            offset, length = block[position : position + 12], block[position + 12 : position + 24]
            if offset[0]:
                entry.segments.append((number(offset), number(length)))
        if not block[more]:
            return
        block, start, count, more = gather(512), 0, 21, 504
        if len(block) != 512 or len(entry.segments) > _SEGMENTS:
            raise malformed("the map of a sparse file is cut or too long", entry.name)


def _write(stream: TarStream, fd: int, segments: list[tuple[int, int]], payload: int, size: int) -> None:
    end = 0
    for offset, length in segments:
        if length < 0 or offset < end or offset + length > size or length > payload:
            raise Refusal("the map of a sparse file is inconsistent")
        end = offset + length
        payload -= length
        os.lseek(fd, offset, os.SEEK_SET)
        stream.copy(fd, length)
    os.ftruncate(fd, size)


def _leading_map(stream: TarStream, size: int) -> tuple[list[tuple[int, int]], int]:
    """Read the map that form 1.0 puts before the data: decimal lines, padded to a block."""
    data = b""
    wanted = 1
    numbers: list[int] = []
    while len(numbers) < wanted:
        if len(data) + 512 > min(size, _SEGMENTS * 40):
            raise Refusal("the map of a sparse file is cut")
        data += stream.read(512)
        complete = data.rpartition(b"\n")[0]
        numbers = [_number(line) for line in complete.split(b"\n") if line]
        if numbers:
            wanted = 1 + 2 * numbers[0]
    return _pairs(numbers[1:wanted]), size - len(data)


def _pairs(numbers: list[int]) -> list[tuple[int, int]]:
    if len(numbers) % 2 or len(numbers) > 2 * _SEGMENTS:
        raise Refusal("the map of a sparse file is malformed")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise Refusal("the map of a sparse file holds no number")
    return int(text)
