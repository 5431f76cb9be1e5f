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
_ETH_IPV6: Final = 0x86DD
_ICMPV6, _ADVERTISEMENT, _LINK_ADDRESS, _OVERRIDE = 58, 136, 2, 1 << 29
_ALL_NODES: Final = bytes.fromhex("333300000001")
_DAD: Final = "/proc/sys/net/ipv6/conf/{}/accept_dad"
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


async def own_at_once(path: str) -> None:
    """Have IPv6 addresses be usable as soon as they are given, without asking whether others have them: the
    one who had them is known, and silent. Idempotent; nothing where the kernel has no IPv6.
    """
    await trio.to_thread.run_sync(netns.visit, path, _trust_addresses, limiter=_LIMITER)


def _trust_addresses() -> None:
    for name in ("all", "default"):
        with suppress(FileNotFoundError), open(_DAD.format(name), "w", encoding="ascii") as file:
            file.write("0")


async def announce(path: str, interface: str, address: str) -> None:
    """Tell the neighbours where an address is now; one that can't be told finds out by itself."""
    await trio.to_thread.run_sync(netns.visit, path, lambda: _announce(interface, address), limiter=_LIMITER)


def _announce(interface: str, address: str) -> None:
    kind, packets = (_ETH_IPV6, neighbour_packets) if ":" in address else (_ETH_ARP, arp_packets)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind)) as raw:
        try:
            raw.bind((interface, kind))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return
            raise
        for packet in packets(raw.getsockname()[4], address):
            with suppress(OSError):
                raw.send(packet)


def arp_packets(mac: bytes, address: str) -> list[bytes]:
    """Return the frames of ARP that announce an IPv4 address (RFC 5227): neighbours differ in which of both
    they believe.
    """
    packed = socket.inet_aton(address)
    return [
        struct.pack(
            "!6s6sHHHBBH6s4s6s4s", _BROADCAST, mac, _ETH_ARP, 1, 0x0800, 6, 4, operation, mac, packed,
            _BROADCAST if operation == 2 else bytes(6), packed,
        )
        for operation in (1, 2)
    ]  # fmt: skip


def neighbour_packets(mac: bytes, address: str) -> list[bytes]:
    """Return the frame that announces an IPv6 address: an unsolicited neighbour advertisement to all nodes
    that overrides what they remember (RFC 4861, 7.2.6).
    """
    source, everybody = (socket.inet_pton(socket.AF_INET6, text) for text in (address, "ff02::1"))
    body = struct.pack("!I16sBB6s", _OVERRIDE, source, _LINK_ADDRESS, 1, mac)
    length = 4 + len(body)
    pseudo = struct.pack("!16s16sIxxxB", source, everybody, length, _ICMPV6)
    checksum = internet_checksum(pseudo + struct.pack("!BBH", _ADVERTISEMENT, 0, 0) + body)
    head = struct.pack("!IHBB16s16s", 6 << 28, length, _ICMPV6, 255, source, everybody)
    message = struct.pack("!BBH", _ADVERTISEMENT, 0, checksum) + body
    return [struct.pack("!6s6sH", _ALL_NODES, mac, _ETH_IPV6) + head + message]


def internet_checksum(data: bytes) -> int:
    """Return the checksum of RFC 1071 of an even number of bytes."""
    total: int = sum(word for (word,) in struct.iter_unpack("!H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
