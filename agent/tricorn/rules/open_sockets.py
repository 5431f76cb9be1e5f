"""What a container's sockets need of its network when it moves, read in /proc/PID/net. Pure.

Source: proc_net_tcp of the kernel's documentation; the states are those of net/tcp_states.h.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import frozen

FILES: Final = ("tcp", "tcp6", "udp", "udp6")
_LISTENS: Final = "0A"
_OVER: Final = frozenset({"02", "03", "06"})  # nobody's yet, or nobody's any more
_INODE: Final = 9  # its column: 0 for a socket that no process has any more
_WORD: Final = 4  # bytes, each in the machine's order
_SHOWN: Final = 5


@frozen
class Needs:
    """`beyond` are connections that leave the container, `within` those of its own loopback; `bound` are its
    addresses at which something listens or receives, rather than at all of them.
    """

    beyond: tuple[str, ...] = ()
    within: int = 0
    bound: tuple[str, ...] = ()


def needs_of(tables: Mapping[str, str]) -> Needs:
    """Return what the sockets in these tables, by the names in `FILES`, need."""
    beyond: list[str] = []
    bound: set[str] = set()
    within = 0
    for name, text in tables.items():
        for words in _rows(text):
            local, peer = _address(words[1]), _address(words[2])
            connected = name.startswith("tcp") and words[3] != _LISTENS
            if connected and not peer.is_unspecified:
                if local.is_loopback:
                    within += 1
                else:
                    beyond.append(f"{peer}:{int(words[2].rpartition(':')[2], 16)}")
            elif not (local.is_unspecified or local.is_loopback or local.is_multicast):
                bound.add(str(local))
    return Needs(tuple(beyond), within, tuple(sorted(bound)))


def shown(items: Iterable[str]) -> str:
    """Return the first few, for people."""
    known = list(items)
    return ", ".join(known[:_SHOWN]) + (", …" if len(known) > _SHOWN else "")


def _rows(text: str) -> Iterable[list[str]]:
    """Yield the lines of sockets that a process has."""
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > _INODE and words[3] not in _OVER and words[_INODE] != "0":
            yield words


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    packed = bytes.fromhex(text.partition(":")[0])
    words = (packed[at : at + _WORD][::-1] for at in range(0, len(packed), _WORD))
    found = ipaddress.ip_address(b"".join(words))
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found
