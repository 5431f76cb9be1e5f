"""What interfaces a network namespace has, asked of the kernel in its own words (rtnetlink(7)).

The library that changes interfaces takes 10 MB and 0.2 s to load; a look at them takes neither. All
functions block for a fraction of a millisecond and see the calling thread's network namespace.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from struct import Struct
from typing import Any, Final

Interface = dict[str, Any]

_GET_LINK, _GET_ADDRESS = 18, 22
_REQUEST, _DUMP, _INTERRUPTED = 0x1, 0x300, 0x10
_ERROR, _DONE = 2, 3
_HEADER: Final = Struct("=IHHII")  # length, type, flags, sequence, port
_LINK: Final = Struct("=BxHiII")  # family, type, index, flags, changes
_ADDRESS: Final = Struct("=BBBBI")  # family, prefix length, flags, scope, index
_ATTRIBUTE: Final = Struct("=HH")  # length, type
_KIND: Final = 0x3FFF  # of an attribute's type: without its flags
_EXTENSIONS: Final = 29
_WITHOUT_STATISTICS: Final = (1 << 3).to_bytes(4, sys.byteorder)  # which take longer than all the rest
_LINK_ADDRESS, _LINK_NAME, _LINK_MTU = 1, 3, 4
_THEIR_ADDRESS, _OWN_ADDRESS = 1, 2
_FAMILIES: Final = frozenset({socket.AF_INET, socket.AF_INET6})
_UP: Final = 1
_ROOM: Final = 65536  # more than the kernel puts into one answer
_ATTEMPTS: Final = 5
_GET_FLAGS, _SET_FLAGS = 0x8913, 0x8914
_FLAGS: Final = Struct("=16sH22x")  # struct ifreq
_LOOPBACK: Final = b"lo"


def interfaces() -> tuple[Interface, ...]:
    """Return the interfaces: name, mac, up, addresses, mtu. Raises OSError."""
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    ) as netlink:
        netlink.settimeout(5)
        links, addresses = _dump(netlink, _GET_LINK), _dump(netlink, _GET_ADDRESS)
    by_index: dict[int, list[str]] = {}
    for message in addresses:
        family, length, _, _, index = _ADDRESS.unpack_from(message)
        found = _attributes(message, _ADDRESS.size)
        raw = found.get(_OWN_ADDRESS) or found.get(_THEIR_ADDRESS)
        if family in _FAMILIES and raw:
            by_index.setdefault(index, []).append(f"{socket.inet_ntop(family, raw)}/{length}")
    return tuple(_described(message, by_index) for message in links)


def loopback_up() -> bool:
    """Set `lo` up; return whether it was down. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        _, flags = _FLAGS.unpack(fcntl.ioctl(control, _GET_FLAGS, _FLAGS.pack(_LOOPBACK, 0)))
        if flags & _UP:
            return False
        fcntl.ioctl(control, _SET_FLAGS, _FLAGS.pack(_LOOPBACK, flags | _UP))
    return True


def _described(message: bytes, addresses: dict[int, list[str]]) -> Interface:
    _, _, index, flags, _ = _LINK.unpack_from(message)
    found = _attributes(message, _LINK.size)
    return {
        "name": os.fsdecode(found.get(_LINK_NAME, b"").rstrip(b"\0")),
        "mac": found.get(_LINK_ADDRESS, b"").hex(":"),
        "up": bool(flags & _UP),
        "mtu": int.from_bytes(found.get(_LINK_MTU, b""), sys.byteorder),
        "addresses": addresses.get(index, []),
    }


def _dump(netlink: socket.socket, kind: int) -> list[bytes]:
    """Return the payloads of all messages of a kind. What changed meanwhile is asked for again."""
    request = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    if kind == _GET_LINK:
        request += _ATTRIBUTE.pack(8, _EXTENSIONS) + _WITHOUT_STATISTICS
    for _ in range(_ATTEMPTS):
        netlink.send(_HEADER.pack(_HEADER.size + len(request), kind, _REQUEST | _DUMP, 1, 0) + request)
        found, whole = _answer(netlink)
        if whole:
            break
    return found


def _answer(netlink: socket.socket) -> tuple[list[bytes], bool]:
    found: list[bytes] = []
    whole = True
    while True:
        for kind, flags, payload in _messages(netlink.recv(_ROOM)):
            whole = whole and not flags & _INTERRUPTED
            if kind == _DONE:
                return found, whole
            if kind == _ERROR:
                number = -int.from_bytes(payload[:4], sys.byteorder, signed=True)
                raise OSError(number or errno.EIO, os.strerror(number or errno.EIO))
            found.append(payload)


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    position = 0
    while position + _HEADER.size <= len(data):
        length, kind, flags, _, _ = _HEADER.unpack_from(data, position)
        yield kind, flags, data[position + _HEADER.size : position + length]
        position += _aligned(max(length, _HEADER.size))


def _attributes(message: bytes, position: int) -> dict[int, bytes]:
    found = {}
    while position + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, position)
        found[kind & _KIND] = message[position + _ATTRIBUTE.size : position + length]
        position += _aligned(max(length, _ATTRIBUTE.size))
    return found


def _aligned(length: int) -> int:
    return (length + 3) & ~3
