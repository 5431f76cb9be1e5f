"""Header blocks made of literals that no table remembers (RFC 7541, 6.2.2): they can be made once and
sent on any connection, in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_STATUS_200: Final = b"\x88"  # static table, 8
_CONTENT_TYPE: Final = b"\x0f\x10"  # literal, name of static table 31
NO_TABLE: Final = b"\x20"  # dynamic table size update to 0: what follows needs none


def _string(raw: bytes) -> bytes:
    size = len(raw)
    if size < 0x7F:
        return bytes((size,)) + raw
    head = bytearray((0x7F,))
    size -= 0x7F
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + raw


def literal(name: bytes, value: bytes) -> bytes:
    """Return one field."""
    return b"\x00" + _string(name) + _string(value)


def block(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a block of fields; pseudo headers have to come first."""
    return b"".join(literal(name, value) for name, value in fields)


GRPC_HEAD: Final = _STATUS_200 + _CONTENT_TYPE + _string(b"application/grpc")
GRPC_OK: Final = literal(b"grpc-status", b"0")
