"""Numbers as protobuf packs them (protobuf.dev, "Encoding"). Pure."""

from __future__ import annotations

from typing import Final

_LONGEST: Final = 70  # bits in the ten bytes that a number of 64 bits takes


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number of 64 bits that begins at `at`, and where it ends. ValueError for one cut off."""
    value = shift = 0
    while at < len(data) and shift < _LONGEST:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value & (2**64 - 1), at
    raise ValueError("a number is cut off")
