"""What the kernel has to be told about IPv6. Left to itself, an interface takes addresses and routes from
whoever advertises himself as a router, and waits before it uses an address.

All functions that look or change block for a fraction of a millisecond and see the calling thread's network
namespace.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any, Final

from tricorn.errors import Unimplemented
from tricorn.runtime.nft import write_setting

_ROOT: Final = "net/ipv6"
_BRIDGED: Final = "net/bridge/bridge-nf-call-ip6tables"
_OWN_ROUTERS, _OWN_ROUTERS_EVEN_FORWARDING = "1", "2"
_NO_DETECTION: Final = 0x02  # IFA_F_NODAD
_LOCAL, _LOCAL_TABLE, _LATER = 2, 255, 1024  # RTN_LOCAL, RT_TABLE_LOCAL; behind the loopback's own route


def need() -> None:
    """Raise Unimplemented, saying what to do, for a kernel without IPv6."""
    if not os.path.isdir(f"/proc/sys/{_ROOT}"):
        raise Unimplemented(
            "this kernel has no IPv6",
            why=f"there is no /proc/sys/{_ROOT}",
            hint="boot it without ipv6.disable=1, load the module ipv6, or make the network without IPv6",
            field="ipv6",
        )


def is_ipv6(text: str) -> bool:
    """Return whether an address, with or without the length of a prefix, is one of IPv6."""
    return ":" in text


def address_request(text: str) -> dict[str, Any]:
    """Return what the kernel is told of an address: one of IPv6 is usable at once, for it is the agent's to
    give, and nobody has to be asked whether he has it.
    """
    address, _, length = text.partition("/")
    flags = {"flags": _NO_DETECTION} if is_ipv6(text) else {}
    return {"address": address, "prefixlen": int(length), **flags}


def answers_to_loopback(index: int) -> dict[str, Any]:
    """Return the route by which a bridge takes the answers of containers to who asked at ::1. The kernel
    looks for that address on the interface that a packet came by, and lets only packets have it whose
    address was translated here: what route_localnet is for IPv4. Bridges have one each.
    """
    return {
        "dst": "::1/128", "oif": index, "type": _LOCAL, "table": _LOCAL_TABLE, "priority": _LATER + index,
        "family": socket.AF_INET6,
    }  # fmt: skip


def set_up(interface: str, *, wanted: bool) -> None:
    """Give an interface IPv6, or none; either way it believes no router that advertises itself there, for any
    container could (CVE-2020-13401). Nothing on a kernel without IPv6. OSError.
    """
    if not os.path.isdir(f"/proc/sys/{_ROOT}"):
        return
    wishes = {"accept_ra": "0", "autoconf": "0", "accept_dad": "0", "disable_ipv6": "0" if wanted else "1"}
    for name, value in wishes.items():
        _set(f"{_ROOT}/conf/{interface}/{name}", value)


def switch_on() -> None:
    """See that a network namespace has IPv6, ::1 among it, whatever new ones get. OSError."""
    _set(f"{_ROOT}/conf/all/disable_ipv6", "0")


def allow_forwarding() -> tuple[str, ...] | None:
    """Have the kernel pass IPv6 packets on between interfaces; return None if it did so already.

    A host that forwards ignores routers' advertisements and forgets the routes that it has from them. So the
    interfaces that accept them are told to go on with it first; their names are returned. PermissionDenied.
    """
    if _get(f"{_ROOT}/conf/all/forwarding") == "1":
        return None
    kept = []
    for _, interface in socket.if_nameindex():
        setting = f"{_ROOT}/conf/{interface}/accept_ra"
        if interface == "lo" or _get(setting) != _OWN_ROUTERS:
            continue
        with suppress(FileNotFoundError):  # it went meanwhile
            write_setting(setting, _OWN_ROUTERS_EVEN_FORWARDING)
            kept.append(interface)
    write_setting(f"{_ROOT}/conf/all/forwarding", "1")
    return tuple(kept)


def loopback_is_cut_off() -> bool:
    """Return whether published ports can't answer at ::1: where bridged packets go through the node's packet
    rules, answers have that address before the kernel looks whether they may, which it denies.
    """
    return _get(_BRIDGED) == "1"


def _get(name: str) -> str:
    with suppress(FileNotFoundError), open(f"/proc/sys/{name}", encoding="ascii") as file:
        return file.read().strip()
    return ""


def _set(name: str, value: str) -> None:
    """Write a setting unless it is so already: for some the kernel stops all of its network. OSError as it
    comes, unlike `write_setting`: of all errors, only those get out of netlink's loop unwrapped.
    """
    if _get(name) != value:
        with open(f"/proc/sys/{name}", "w", encoding="ascii") as file:
            file.write(value)
