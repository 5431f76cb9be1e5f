"""Numbers and fields as protobuf packs them (protobuf.dev, "Encoding"). Pure."""

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


def packed_varint(value: int) -> bytes:
    """Return a number that isn't negative as its bytes."""
    packed = bytearray()
    while value > 0x7F:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    packed.append(value)
    return bytes(packed)


def field(number: int, value: bytes) -> bytes:
    """Return a field that holds bytes, a text or a message; nothing for an empty one."""
    return packed_varint(number << 3 | 2) + packed_varint(len(value)) + value if value else b""


def required(number: int, value: bytes) -> bytes:
    """Return such a field that is there even if it is empty."""
    return field(number, value) or packed_varint(number << 3 | 2) + packed_varint(0)


def number_field(number: int, value: int) -> bytes:
    """Return a field that holds a number, 0 too."""
    return packed_varint(number << 3) + packed_varint(value)
