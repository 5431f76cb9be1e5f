"""Follows the frames of a zstd stream, to tell a complete one from one that was cut (RFC 8878).

The decompression library reports the end of its input alike in both cases.
"""

from __future__ import annotations

from typing import Final

_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_CHECKSUM_SIZE: Final = 4
_DICTIONARY_ID: Final = (0, 1, 2, 4)
_RLE: Final = 1


class ZstdFrames:
    """Takes the bytes of a stream in any pieces. `complete` holds between frames only."""

    def __init__(self) -> None:
        self._skip = 0
        self._head = b""
        self._in_blocks = False
        self._checksum = 0
        self._lost = False

    @property
    def complete(self) -> bool:
        """Whether what was fed so far ends where a frame does."""
        return not (self._skip or self._head or self._in_blocks or self._lost)

    def feed(self, data: bytes) -> None:
        position, end = 0, len(data)
        while position < end and not self._lost:
            if self._skip:
                step = min(self._skip, end - position)
                self._skip -= step
            else:
                step = min(self._wanted() - len(self._head), end - position)
                self._head += data[position : position + step]
                if len(self._head) == self._wanted():
                    self._take_head()
            position += step

    def _wanted(self) -> int:
        if self._in_blocks:
            return 3
        return 5 if self._head[:4] in (b"", _MAGIC[: len(self._head)]) else 8

    def _take_head(self) -> None:
        head, self._head = self._head, b""
        if self._in_blocks:
            self._take_block(int.from_bytes(head, "little"))
        elif head[:4] == _MAGIC:
            self._take_frame(head[4])
        elif head[1:4] == b"\x2a\x4d\x18":
            self._skip = int.from_bytes(head[4:8], "little")
        else:
            self._lost = True  # the library will say what is wrong

    def _take_frame(self, descriptor: int) -> None:
        single_segment = descriptor >> 5 & 1
        content_size = (single_segment, 2, 4, 8)[descriptor >> 6]
        self._skip = 1 - single_segment + _DICTIONARY_ID[descriptor & 3] + content_size
        self._checksum = _CHECKSUM_SIZE if descriptor & 4 else 0
        self._in_blocks = True

    def _take_block(self, header: int) -> None:
        size = header >> 3
        self._skip = 1 if header >> 1 & 3 == _RLE else size
        if header & 1:
            self._skip += self._checksum
            self._in_blocks = False
