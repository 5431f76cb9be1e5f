"""What tells neighbours where an address is now."""

from __future__ import annotations

import socket

from tricorn.runtime.network_hold import arp_packets, internet_checksum, neighbour_packets

MAC = bytes.fromhex("025400010203")


def test_an_ipv6_address_is_announced_to_all_nodes_and_overrides_what_they_knew() -> None:
    (frame,) = neighbour_packets(MAC, "fd72::2")
    assert frame[:14] == bytes.fromhex("333300000001") + MAC + bytes.fromhex("86dd")
    head, message = frame[14:54], frame[54:]
    assert head[:8] == bytes.fromhex("60000000 0020 3a ff")  # 32 bytes of ICMPv6, hop limit 255
    source = socket.inet_pton(socket.AF_INET6, "fd72::2")
    assert head[8:] == source + socket.inet_pton(socket.AF_INET6, "ff02::1")
    assert message[:2] == bytes((136, 0))
    assert message[4:] == bytes.fromhex("20000000") + source + bytes((2, 1)) + MAC
    pseudo = head[8:] + len(message).to_bytes(4, "big") + bytes((0, 0, 0, 58))
    assert internet_checksum(pseudo + message) == 0


def test_the_checksum_is_the_one_of_rfc_1071() -> None:
    assert internet_checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF ^ 0xDDF2


def test_an_ipv4_address_is_asked_for_and_answered() -> None:
    asked, told = arp_packets(MAC, "10.0.0.7")
    assert [frame[20:22] for frame in (asked, told)] == [b"\0\1", b"\0\2"]
    for frame in (asked, told):
        assert frame[:14] == b"\xff" * 6 + MAC + bytes.fromhex("0806")
        assert frame[22:32] == MAC + socket.inet_aton("10.0.0.7")
        assert frame[38:] == socket.inet_aton("10.0.0.7")
