"""Images of a dump that CRIU hands to programs or the kernel of the node as they are. Pure.

A network namespace that is given by path is no part of a dump, nor, by runc, is one without; dumps of the
latter by others hold what is judged here (criu/net.c). Rules of a firewall are given to iptables-restore and
nft, which run as the node's root and take names of programs and files. Addresses and routes are ip(8)'s own
dumps, which it brings back by messages to the kernel in the container's namespace: they may be what they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from tricorn.rules.criu_images import entries, number_of, text_of

_LOOPBACK: Final = 1
# A table with its chains' policies, and no rule in it
_EMPTY_TABLES: Final = re.compile(
    rb"(?:(?:#[ -~]*|\*[a-z]{1,16}|:[A-Z]{1,16} (?:ACCEPT|DROP|-) \[[0-9]+:[0-9]+\]|COMMIT)?\n)*"
)
_NEVER: Final = (
    ("apparmor", "policies for the node's AppArmor"),
    ("binfmt-misc", "formats of programs, which are the node's"),
    ("autofs-", "file systems that are mounted when they are used"),
    ("netns-exp-", "connections that a firewall expects"),
    ("netns-ct-", "connections of a firewall"),
    ("rlimit-", "limits in an image of their own"),
    *((name, "files in an image of their own") for name in (
        "fanotify", "packetsk", "reg-files", "inetsk", "tunfile",
    )),
    ("bpfmap", "maps of BPF programs"),
)  # fmt: skip


def is_of_network(name: str) -> bool:
    """Return whether the image of this name has to be read."""
    return name.endswith(".img") and name.startswith(("netdev-", "iptables-", "ip6tables-", "nftables-"))


def handed_on(images: Mapping[str, bytes]) -> Iterator[str]:
    """Yield what is wrong with images of networks, by name. InvalidArgument for a malformed one."""
    for name, data in images.items():
        if name.startswith(("iptables-", "ip6tables-")) and not _EMPTY_TABLES.fullmatch(data):
            yield f"rules of a firewall ({name})"
        if name.startswith("nftables-") and data.strip(b"\n\0"):
            yield f"rules of a firewall ({name})"
        if name.startswith("netdev-"):
            for fields in entries(data, "netdev", name):
                if number_of(fields, 1) != _LOOPBACK or text_of(fields, 5) != "lo" or 6 in fields:
                    yield f"a network device {text_of(fields, 5)[:16]!r}"


def never(names: Collection[str]) -> Iterator[str]:
    """Yield what there are images of, by their names, that no container has."""
    yield from (what for start, what in _NEVER if any(name.startswith(start) for name in names))
