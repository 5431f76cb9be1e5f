"""Subnets of networks and the addresses in them, of IPv4 and IPv6: what is given, what is free. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from tricorn.errors import Conflict, InvalidArgument, ResourceExhausted
from tricorn.model import ids
from tricorn.model.networks import Network, NetworkDesired

Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network
_NO_NAMES: Final = frozenset({"private", "none", "host"})
_LENGTHS: Final = {4: range(8, 31), 6: range(16, 127)}  # room for a gateway and a container
_POOLED: Final = {4: 24, 6: 64}
_KINDS: Final = {4: "unicast addresses", 6: "global unicast (2000::/3) or unique local addresses (fc00::/7)"}
_IPV6: Final = tuple(map(ipaddress.IPv6Network, ("2000::/3", "fc00::/7")))
_MTU: Final = {4: range(576, 65536), 6: range(1280, 65536)}  # RFC 791, RFC 8200
_PROBES: Final = 65536  # subnets of a pool that are looked at before it counts as full


def check_name(name: str) -> str:
    """Return a network's name. InvalidArgument."""
    if name in _NO_NAMES:
        raise InvalidArgument(f"a network can't be named {name!r}", why="it means another", field="name")
    return ids.identifier(name, "name")


def complete(
    name: str,
    desired: NetworkDesired,
    current: Network | None,
    *,
    pool: str,
    taken: Iterable[str],
    bridge: str,
    pool6: str = "fd00::/48",
) -> Network:
    """Return the whole network that is desired: with a subnet of each family that it has, and a gateway.

    `taken` are the subnets of other networks and of the node's interfaces. InvalidArgument; Conflict for a
    subnet that is taken; ResourceExhausted when the pool is.
    """
    others: list[Subnet] = [ipaddress.ip_network(text, strict=False) for text in taken]
    four, six = families(desired, current)
    old = (current.subnet, current.gateway, current.subnet6, current.gateway6) if current else ("",) * 4
    subnet = gateway = subnet6 = gateway6 = ""
    if four:
        subnet, gateway = _family(4, (desired.subnet, desired.gateway), old[:2], pool, name, others)
    if six:
        subnet6, gateway6 = _family(6, (desired.subnet6, desired.gateway6), old[2:], pool6, name, others)
    _check_mtu(desired.mtu, 6 if six else 4)
    dns = tuple(_server(text) for text in desired.dns)
    if not desired.namespaces or not all(desired.namespaces):
        raise InvalidArgument("no namespace could use it", field="namespaces")
    return Network(
        check_name(name), subnet, gateway, bridge, desired.mtu, desired.masquerade, dns,
        tuple(desired.namespaces), ids.labels(desired.labels), subnet6=subnet6, gateway6=gateway6,
    )  # fmt: skip


def families(desired: NetworkDesired, current: Network | None) -> tuple[bool, bool]:
    """Return whether a network is to have IPv4, and IPv6. InvalidArgument for none, and for subnets and
    gateways of a family that is declined.
    """
    given = (bool(desired.subnet or desired.gateway), bool(desired.subnet6 or desired.gateway6))
    found = []
    for version, wanted, named, was in (
        (4, desired.ipv4, given[0], bool(current.subnet) if current else True),
        (6, desired.ipv6, given[1], bool(current.subnet6) if current else False),
    ):
        if wanted is False and named:
            field = "subnet" if version == 4 else "subnet6"
            raise InvalidArgument(f"a network without IPv{version} has no subnet of it", field=field)
        found.append(named or (was if wanted is None else wanted))
    if not any(found):
        raise InvalidArgument("a network needs IPv4 or IPv6 addresses", hint="ask for ipv6", field="ipv6")
    return found[0], found[1]


def may_move(current: Network, desired: NetworkDesired) -> bool:
    """Return whether a network's subnets may become others. InvalidArgument as `families`."""
    kept = desired.subnet in {"", current.subnet} and desired.subnet6 in {"", current.subnet6}
    return not kept or families(desired, current) != (bool(current.subnet), bool(current.subnet6))


def ula_prefix(seed: str) -> str:
    """Return the /48 of unique local addresses (RFC 4193) that belongs to `seed`: the same at all times, and
    with others' chance of one in 2^40 to be another's.
    """
    global_id = hashlib.sha256(seed.encode()).digest()[:5]
    address = ipaddress.IPv6Address(b"\xfd" + global_id + bytes(10))
    return f"{address}/48"


def _family(
    version: int,
    wanted: tuple[str, str],
    current: tuple[str, str],
    pool: str,
    name: str,
    others: Sequence[Subnet],
) -> tuple[str, str]:
    """Return subnet and gateway of a family: what is wanted, what there is, or what is free."""
    suffix = "" if version == 4 else "6"
    text = wanted[0] or current[0]
    subnet = _named(version, text, f"subnet{suffix}", others) if text else _free(version, pool, name, others)
    kept = current[1] if current[0] == str(subnet) else ""
    return str(subnet), _gateway(subnet, wanted[1] or kept or str(subnet[1]), f"gateway{suffix}")


def _named(version: int, text: str, field: str, others: Sequence[Subnet]) -> Subnet:
    try:
        subnet = ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidArgument(f"subnet {text[:64]!r} is malformed", why=str(error), field=field) from None
    if subnet.version != version:
        rightly = "subnet6" if version == 4 else "subnet"
        hint = f"name it as {rightly}"
        raise InvalidArgument(f"subnet {subnet} isn't IPv{version}", hint=hint, field=field)
    if subnet.prefixlen not in _LENGTHS[version] or not _usable(subnet):
        lengths = _LENGTHS[version]
        raise InvalidArgument(
            f"subnet {subnet} can't be used", field=field,
            why=f"/{lengths[0]} to /{lengths[-1]} of {_KINDS[version]}",
        )  # fmt: skip
    for other in others:
        if subnet.overlaps(other):
            raise Conflict(f"subnet {subnet} is taken", why=f"{other} is in use", field=field)
    return subnet


def _usable(subnet: Subnet) -> bool:
    if isinstance(subnet, ipaddress.IPv6Network):
        return any(subnet.subnet_of(known) for known in _IPV6)
    return not (subnet.is_loopback or subnet.is_multicast or subnet.is_link_local or subnet.is_reserved)


def _free(version: int, pool: str, name: str, others: Sequence[Subnet]) -> Subnet:
    """Return a free subnet of the pool: of IPv4 the first, of IPv6 one that belongs to the network's name, so
    that a network that is made again has the addresses that it had.
    """
    whole = ipaddress.ip_network(pool)
    length = max(_POOLED[version], whole.prefixlen)
    count, size = 2 ** (length - whole.prefixlen), 2 ** (whole.max_prefixlen - length)
    first = 0 if version == 4 else int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % count
    for step in range(min(count, _PROBES)):
        number = int(whole.network_address) + (first + step) % count * size
        subnet: Subnet = ipaddress.ip_network((number.to_bytes(whole.max_prefixlen // 8), length))
        if not any(subnet.overlaps(other) for other in others):
            return subnet
    setting, suffix = ("network.pool", "") if version == 4 else ("network.pool6", "6")
    raise ResourceExhausted(
        f"no subnet is left of {pool}", hint=f"name one, or configure another {setting}",
        field=f"subnet{suffix}",
    )  # fmt: skip


def _gateway(subnet: Subnet, text: str, field: str) -> str:
    try:
        gateway = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidArgument(f"{text[:64]!r} is no IPv{subnet.version} address", field=field) from None
    edges = {subnet.network_address} | ({subnet.broadcast_address} if subnet.version == 4 else set())
    if gateway not in subnet or gateway in edges or "%" in text:
        raise InvalidArgument(f"gateway {gateway} is no address of {subnet}", field=field)
    return str(gateway)


def _check_mtu(mtu: int, version: int) -> None:
    if mtu and mtu not in _MTU[version]:
        smallest = _MTU[version][0]
        why = f"{smallest} to 65535" + (" with IPv6" if version == 6 else "")
        raise InvalidArgument(f"an MTU of {mtu} is out of range", why=why, field="mtu")


def _server(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise InvalidArgument(f"name server {text[:64]!r} is no address", field="dns") from None


# ------------------------------------------------------------ addresses
def choose_addresses(network: Network, taken: Collection[str]) -> tuple[str, str]:
    """Return a free address of IPv4 and one of IPv6, "" of a family that the network hasn't: the lowest, and
    of IPv6 the one with the same number in its subnet, if that is free. ResourceExhausted.
    """
    first = _lowest(network, network.subnet, network.gateway, taken) if network.subnet else ""
    return first, _beside(network, first, taken)


def _beside(network: Network, first: str, taken: Collection[str]) -> str:
    """Return the IPv6 address for who has the IPv4 address `first`, or none."""
    if not network.subnet6:
        return ""
    twin = _twin(network, first) if first else ""
    free = twin and twin != network.gateway6 and twin not in taken
    return twin if free else _lowest(network, network.subnet6, network.gateway6, taken)


def _twin(network: Network, address: str) -> str:
    """Return the IPv6 address with the number of an IPv4 address, "" if the subnet is smaller."""
    number = int(ipaddress.ip_address(address)) - int(ipaddress.ip_network(network.subnet).network_address)
    subnet = ipaddress.ip_network(network.subnet6)
    return str(subnet[number]) if number < subnet.num_addresses else ""


def _lowest(network: Network, text: str, gateway: str, taken: Collection[str]) -> str:
    subnet = ipaddress.ip_network(text)
    for address in subnet.hosts():
        found = str(address)
        if found != gateway and found not in taken:
            return found
    raise ResourceExhausted(
        f"network {network.name} has no address left", why=f"all of {subnet} are in use",
        hint="remove containers, or make a network with a larger subnet",
    )  # fmt: skip


def take_addresses(network: Network, wanted: Sequence[str], taken: Collection[str]) -> tuple[str, str]:
    """Return the addresses `wanted` (with the length of their prefixes), which a container had in a network
    of this name on another node, of IPv4 and of IPv6; one of a family that it had none of is chosen. Conflict
    when one can't be had here, saying why.
    """
    found = {4: "", 6: ""}
    for text in wanted:
        interface = ipaddress.ip_interface(text)
        found[interface.version] = _take(network, interface, taken)
    first = found[4] or choose_addresses(network, taken)[0]
    return first, found[6] or _beside(network, first, taken)


def _take(
    network: Network, wanted: ipaddress.IPv4Interface | ipaddress.IPv6Interface, taken: Collection[str]
) -> str:
    address = str(wanted.ip)
    four = wanted.version == 4
    subnet, gateway = (network.subnet, network.gateway) if four else (network.subnet6, network.gateway6)
    if str(wanted.network) != subnet:
        why = f"network {network.name} is {subnet or f'without IPv{wanted.version}'} here"
        raise Conflict(f"address {address} can't move along", why=why)
    if address == gateway or address in taken:
        holder = "the network's gateway" if address == gateway else "another container"
        raise Conflict(f"address {address} can't move along", why=f"it is taken here by {holder}")
    return address


def with_prefix(network: Network, address: str) -> str:
    """Return an address of the network with the length of its subnet's prefix."""
    subnet = network.subnet6 if ":" in address else network.subnet
    return f"{address}/{subnet.partition('/')[2]}"


def mac_of(address: str) -> str:
    """Return the hardware address that belongs to an address: who gets an address that was another's is
    found under it at once, whatever neighbours remember.
    """
    packed = ipaddress.ip_address(address).packed
    own = packed if len(packed) == 4 else hashlib.sha256(packed).digest()[:4]
    return (b"\x02\x54" + own).hex(":")
