"""Networks of the node: what a container asks for, subnets, addresses, names of interfaces. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

import attrs

from tricorn.errors import (
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
)
from tricorn.model import ids
from tricorn.model.networks import CNI, Network, NetworkChoice, NetworkDesired, NetworkKind, Port

_WORDS: Final = {
    "": NetworkKind.PRIVATE, "private": NetworkKind.PRIVATE, "none": NetworkKind.PRIVATE,
    "host": NetworkKind.HOST,
}  # fmt: skip
_SMALLEST: Final = 30  # bits of the longest prefix that leaves room for a gateway and a container
_LARGEST: Final = 8
_POOLED: Final = 24
_MTU: Final = range(576, 65536)
_HINT: Final = "private, none, host, path:/…, container:NAME, cni:NAME or a network's name"
_NO_NAMES: Final = frozenset({"private", "none", "host"})


def parse_network(text: str) -> NetworkChoice:
    """Return what a container's `network` means. InvalidArgument."""
    if text in _WORDS:
        return NetworkChoice(_WORDS[text])
    if text.startswith(("/", "path:")):
        path = text.removeprefix("path:")
        if not path.startswith("/") or not path.isprintable():
            raise InvalidArgument(
                f"network namespace {path[:200]!r} is malformed", why="it must be an absolute path",
                field="network",
            )  # fmt: skip
        return NetworkChoice(NetworkKind.PATH, path)
    word, colon, name = text.partition(":")
    kinds = {"container": NetworkKind.CONTAINER, "cni": NetworkKind.CNI, "bridge": NetworkKind.BRIDGE}
    if colon and word not in kinds:
        raise InvalidArgument(f"network {text[:200]!r} is malformed", hint=_HINT, field="network")
    choice = NetworkChoice(kinds[word], name) if colon else NetworkChoice(NetworkKind.BRIDGE, text)
    try:
        ids.identifier(choice.name, "network")
    except InvalidArgument as error:
        raise InvalidArgument(
            f"network {text[:200]!r} is malformed", why=error.why, hint=_HINT, field="network"
        ) from None
    return choice


def check_container(network: str, ports: Sequence[Port]) -> NetworkChoice:
    """Return what is asked for. InvalidArgument for a malformed network or port, ports that meet, and ports
    without a network they could be reached through.
    """
    choice = parse_network(network)
    if ports and not choice.managed:
        raise InvalidArgument(
            f"ports can't be published with network {network!r}",
            why="nothing leads from the node to it",
            hint="make a network (`tricorn network create NAME`) and join that",
            field="ports",
        )
    for place, port in enumerate(ports):
        _check_port(port, f"ports[{place}]")
        for other in ports[:place]:
            if meet(port, other):
                raise InvalidArgument(f"port {port_text(port)} is asked for twice", field=f"ports[{place}]")
    return choice


def _check_port(port: Port, field: str) -> None:
    for key in ("container", "host"):
        if not 0 < getattr(port, key) < 65536:
            raise InvalidArgument(
                f"port {getattr(port, key)} is out of range", why="1 to 65535", field=f"{field}.{key}"
            )
    if port.address:
        _address(port.address, f"{field}.address")


def meet(one: Port, other: Port) -> bool:
    """Return whether two published ports want the same place on the node."""
    same = (one.host, one.protocol) == (other.host, other.protocol)
    return same and (not one.address or not other.address or one.address == other.address)


def port_text(port: Port) -> str:
    """Return a published port as `-p` takes it."""
    address = f"{port.address}:" if port.address else ""
    return f"{address}{port.host}:{port.container}/{port.protocol}"


def refuse_taken(port: Port, holder: tuple[str, str]) -> Conflict:
    """Return the error for a port that another container has."""
    namespace, container = holder
    return Conflict(
        f"port {port.host}/{port.protocol} of the node is taken",
        why=f"container {container} of namespace {namespace} has it",
        hint="a container keeps its ports until it is removed: remove it, or publish another port",
        field="ports",
    )


# ------------------------------------------------------------ networks
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
) -> Network:
    """Return the whole network that is desired: with a subnet, and a gateway.

    `taken` are the subnets of other networks and of the node's interfaces. InvalidArgument; Conflict for a
    subnet that is taken; ResourceExhausted when the pool is.
    """
    others = [ipaddress.ip_network(text, strict=False) for text in taken]
    subnet = _subnet(desired.subnet or (current.subnet if current else ""), pool, others)
    kept = current.gateway if current and current.subnet == str(subnet) else ""
    gateway = _address(desired.gateway or kept or str(subnet[1]), "gateway")
    if gateway not in subnet or gateway in {subnet.network_address, subnet.broadcast_address}:
        raise InvalidArgument(f"gateway {gateway} is no address of {subnet}", field="gateway")
    if desired.mtu and desired.mtu not in _MTU:
        raise InvalidArgument(f"an MTU of {desired.mtu} is out of range", why="576 to 65535", field="mtu")
    dns = tuple(_server(text) for text in desired.dns)
    if not desired.namespaces or not all(desired.namespaces):
        raise InvalidArgument("no namespace could use it", field="namespaces")
    return Network(
        check_name(name), str(subnet), str(gateway), bridge, desired.mtu, desired.masquerade, dns,
        tuple(desired.namespaces), ids.labels(desired.labels),
    )  # fmt: skip


def _subnet(
    text: str, pool: str, others: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]
) -> ipaddress.IPv4Network:
    if not text:
        return _next_free(pool, others)
    try:
        subnet = ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidArgument(f"subnet {text[:64]!r} is malformed", why=str(error), field="subnet") from None
    if not isinstance(subnet, ipaddress.IPv4Network):
        raise InvalidArgument(
            f"subnet {subnet} isn't IPv4", why="bridge networks have IPv4 addresses only",
            hint="a CNI configuration list can have IPv6 ones, too", field="subnet",
        )  # fmt: skip
    if not _LARGEST <= subnet.prefixlen <= _SMALLEST or not _usable(subnet):
        raise InvalidArgument(
            f"subnet {subnet} can't be used", why=f"/{_LARGEST} to /{_SMALLEST} of unicast addresses",
            field="subnet",
        )  # fmt: skip
    for other in others:
        if subnet.overlaps(other):
            raise Conflict(f"subnet {subnet} is taken", why=f"{other} is in use", field="subnet")
    return subnet


def _usable(subnet: ipaddress.IPv4Network) -> bool:
    return not (subnet.is_loopback or subnet.is_multicast or subnet.is_link_local or subnet.is_reserved)


def _next_free(
    pool: str, others: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]
) -> ipaddress.IPv4Network:
    whole = ipaddress.IPv4Network(pool)
    for subnet in whole.subnets(new_prefix=max(_POOLED, whole.prefixlen)):
        if not any(subnet.overlaps(other) for other in others):
            return subnet
    raise ResourceExhausted(
        f"no subnet is left of {pool}", hint="name one, or configure another network.pool", field="subnet"
    )


def _address(text: str, field: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        raise InvalidArgument(f"{text[:64]!r} is no IPv4 address", field=field) from None


def _server(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise InvalidArgument(f"name server {text[:64]!r} is no address", field="dns") from None


def must_stay(current: Network, wanted: Network, users: Sequence[str]) -> None:
    """Refuse a change under containers' feet. FailedPrecondition names them."""
    for key in ("subnet", "gateway", "mtu"):
        if users and getattr(current, key) != getattr(wanted, key):
            raise FailedPrecondition(
                f"the {key} of network {current.name} can't be changed", why=in_use(users),
                hint="remove the containers first", field=key,
            )  # fmt: skip


def in_use(users: Sequence[str]) -> str:
    """Return who uses a network, in few words."""
    shown = ", ".join(users[:5])
    return f"{len(users)} containers are in it: {shown}{' …' if len(users) > 5 else ''}"


def admit(network: Network, namespace: str) -> None:
    """Refuse containers of a namespace that the network isn't for. PermissionDenied."""
    if not any(fnmatchcase(namespace, pattern) for pattern in network.namespaces):
        raise PermissionDenied(
            f"network {network.name} isn't for namespace {namespace}",
            why=f"it is for {', '.join(network.namespaces)}", field="network",
        )  # fmt: skip


# ------------------------------------------------------------ addresses and interfaces
def choose_address(network: Network, taken: Collection[str]) -> str:
    """Return the lowest free address. ResourceExhausted."""
    subnet = ipaddress.IPv4Network(network.subnet)
    for address in subnet.hosts():
        text = str(address)
        if text != network.gateway and text not in taken:
            return text
    raise ResourceExhausted(
        f"network {network.name} has no address left", why=f"all of {subnet} are in use",
        hint="remove containers, or make a network with a larger subnet",
    )  # fmt: skip


def take_address(network: Network, wanted: str, taken: Collection[str]) -> str:
    """Return the address `wanted` (with the length of its prefix), which a container had in a network of
    this name on another node. Conflict when it can't be had here, saying why.
    """
    address = wanted.partition("/")[0]
    subnet = ipaddress.IPv4Network(network.subnet)
    if ipaddress.IPv4Interface(wanted).network != subnet:
        raise Conflict(f"address {address} can't move along", why=f"network {network.name} is {subnet} here")
    if address == network.gateway or address in taken:
        holder = "the network's gateway" if address == network.gateway else "another container"
        raise Conflict(f"address {address} can't move along", why=f"it is taken here by {holder}")
    return address


def with_prefix(network: Network, address: str) -> str:
    return f"{address}/{ipaddress.IPv4Network(network.subnet).prefixlen}"


def mac_of(address: str) -> str:
    """Return the hardware address that belongs to an address: who gets an address that was another's is
    found under it at once, whatever neighbours remember.
    """
    packed = ipaddress.IPv4Address(address).packed
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x54, *packed))


def agent_tag(root: str) -> str:
    """Return what tells the interfaces of one agent from those of another on the same node."""
    return hashlib.sha256(root.encode()).hexdigest()[:4]


def bridge_name(tag: str, network: str) -> str:
    """Return the name of a network's bridge; the kernel takes 15 characters."""
    return f"tb{tag}{hashlib.sha256(network.encode()).hexdigest()[:8]}"


def veth_name(tag: str, namespace: str, container: str) -> str:
    """Return the name of the host's end of a container's pair."""
    key = f"{namespace}/{container}"
    return f"tv{tag}{hashlib.sha256(key.encode()).hexdigest()[:9]}"


def cni_id(namespace: str, container: str) -> str:
    """Return a container's id for CNI plugins, which know no namespaces."""
    return f"{container}.{hashlib.sha256(f'{namespace}/{container}'.encode()).hexdigest()[:8]}"


def network_name(choice: NetworkChoice) -> str:
    """Return the network's name as records have it."""
    return f"{CNI}{choice.name}" if choice.kind is NetworkKind.CNI else choice.name


def same(one: Network, other: Network) -> bool:
    """Return whether two networks differ in nothing but their times."""
    return attrs.evolve(one, created_at=other.created_at, updated_at=other.updated_at) == other
