"""What a container's sockets need of its network."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from tricorn.rules.open_sockets import Needs, needs_of, shown

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def place(address: str, port: int) -> str:
    packed = ip_address(address).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


def line(local: tuple[str, int], peer: tuple[str, int], state: str, inode: int = 4711) -> str:
    return (
        f"   0: {place(*local)} {place(*peer)} {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1\n"
    )


ANY, NOBODY = ("0.0.0.0", 80), ("0.0.0.0", 0)


def test_connections_beyond_the_container_and_within_it() -> None:
    tcp = HEAD + line(ANY, NOBODY, "0A") + line(("10.40.0.2", 80), ("10.40.0.9", 4000), "01")
    tcp += line(("127.0.0.1", 80), ("127.0.0.1", 4001), "08")
    assert needs_of({"tcp": tcp}) == Needs(("10.40.0.9:4000",), 1)


def test_what_is_over_or_only_begins_needs_nothing() -> None:
    peer = ("10.40.0.9", 4000)
    tcp = HEAD + "".join(line(("10.40.0.2", 80), peer, state) for state in ("02", "03", "06"))
    assert needs_of({"tcp": tcp + line(("10.40.0.2", 80), peer, "04", inode=0)}) == Needs()


def test_what_listens_at_one_address_needs_that_one() -> None:
    tcp = HEAD + line(("10.40.0.2", 80), NOBODY, "0A") + line(("127.0.0.1", 81), NOBODY, "0A")
    udp = HEAD + line(("10.40.0.3", 53), NOBODY, "07") + line(ANY, NOBODY, "07")
    assert needs_of({"tcp": tcp, "udp": udp}).bound == ("10.40.0.2", "10.40.0.3")


def test_addresses_of_ipv6_and_those_that_are_ipv4_in_truth() -> None:
    mapped = line(("::ffff:10.40.0.2", 80), ("::ffff:10.40.0.9", 4000), "01")
    own = line(("fd00::2", 80), ("fd00::9", 4000), "01") + line(("::1", 1), ("::1", 2), "01")
    assert needs_of({"tcp6": HEAD + mapped + own}) == Needs(("10.40.0.9:4000", "fd00::9:4000"), 1)


def test_only_some_are_shown() -> None:
    assert shown("abc") == "a, b, c"
    assert shown("abcdefg") == "a, b, c, d, e, …"
