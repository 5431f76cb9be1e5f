"""Keeping a container's network still while the container moves: the kernel answers nobody in its place.

A frozen container's kernel would go on acknowledging what comes for its connections, and one whose sockets
aren't there yet would refuse it; either ends connections that are to go on elsewhere. The rules are in the
container's own network namespace: they need nothing of the way that leads to it, and go with it.
"""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from typing import Final

import trio

from tricorn.runtime import netns, nft

_TABLE: Final = "tricorn_hold"
_LIMITER: Final = trio.CapacityLimiter(2)
_ETH_ARP: Final = 0x0806
_BROADCAST: Final = b"\xff" * 6
# Before connection tracking, so that nothing of what is dropped is remembered.
_CHAIN: Final = 'chain {name} {{ type filter hook {hook} priority -400; policy drop; {way} "lo" accept; }};'
_REMOVE: Final = "".join(
    f"table {family} {_TABLE}\ndelete table {family} {_TABLE}\n" for family in ("inet", "arp")
)


async def hold(path: str, *, silent: bool) -> None:
    """Let nothing in that comes from beyond; `silent`: nor out, and answer no neighbour. Idempotent.

    As `nft.apply`; NotFound for a namespace that isn't there.
    """
    chains = [_CHAIN.format(name="in", hook="prerouting", way="iifname")]
    arp = ""
    if silent:
        chains.append(_CHAIN.format(name="out", hook="output", way="oifname"))
        arp = f"table arp {_TABLE} {{ chain in {{ type filter hook input priority 0; policy drop; }}; }}\n"
    await nft.apply(f"{_REMOVE}table inet {_TABLE} {{ {' '.join(chains)} }}\n{arp}", netns=path)


async def free(path: str) -> None:
    """Undo `hold`; idempotent."""
    await nft.apply(_REMOVE, netns=path)


async def announce(path: str, interface: str, address: str) -> None:
    """Tell the neighbours where an IPv4 address is now; one that can't be told finds out by itself."""
    await trio.to_thread.run_sync(netns.visit, path, lambda: _announce(interface, address), limiter=_LIMITER)


def _announce(interface: str, address: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_ARP)) as raw:
        try:
            raw.bind((interface, _ETH_ARP))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return
            raise
        mac, packed = raw.getsockname()[4], socket.inet_aton(address)
        for operation in (1, 2):  # neighbours differ in which one they believe
            packet = struct.pack(
                "!6s6sHHHBBH6s4s6s4s", _BROADCAST, mac, _ETH_ARP, 1, 0x0800, 6, 4, operation, mac, packed,
                _BROADCAST if operation == 2 else bytes(6), packed,
            )  # fmt: skip
            with suppress(OSError):
                raw.send(packet)
