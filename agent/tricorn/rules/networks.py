"""Networks of the node: what a container asks for, who may join, names of interfaces. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

import attrs

from tricorn.errors import Conflict, FailedPrecondition, InvalidArgument, PermissionDenied
from tricorn.model import ids
from tricorn.model.networks import CNI, Network, NetworkChoice, NetworkKind, Port

_WORDS: Final = {
    "": NetworkKind.PRIVATE, "private": NetworkKind.PRIVATE, "none": NetworkKind.PRIVATE,
    "host": NetworkKind.HOST,
}  # fmt: skip
WILDCARDS: Final = {"0.0.0.0": 4, "::": 6}  # noqa: S104 - what stands for all addresses of a family
_HINT: Final = "private, none, host, path:/…, container:NAME, cni:NAME or a network's name"


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
        _check_address(port.address, f"{field}.address")


def _check_address(text: str, field: str) -> None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidArgument(f"{text[:64]!r} is no address", why="IPv4 or IPv6", field=field) from None
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id or address.ipv4_mapped):
        raise InvalidArgument(
            f"{text[:64]!r} can't be published at", why="it has a zone, or is an IPv4 address in disguise",
            field=field,
        )  # fmt: skip


def places_of(port: Port) -> tuple[frozenset[int], str]:
    """Return where on the node a port is: at addresses of these families (4, 6), and at which one if it isn't
    at all of them, as the kernel writes it.
    """
    if not port.address:
        return frozenset({4, 6}), ""
    address = ipaddress.ip_address(port.address)
    return frozenset({address.version}), "" if str(address) in WILDCARDS else str(address)


def meet(one: Port, other: Port) -> bool:
    """Return whether two published ports want the same place on the node."""
    if (one.host, one.protocol) != (other.host, other.protocol):
        return False
    (families, address), (others, their) = places_of(one), places_of(other)
    return bool(families & others) and (not address or not their or address == their)


def port_text(port: Port) -> str:
    """Return a published port as `-p` takes it."""
    address = f"[{port.address}]" if ":" in port.address else port.address
    return f"{f'{address}:' if address else ''}{port.host}:{port.container}/{port.protocol}"


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
def must_stay(current: Network, wanted: Network, users: Sequence[str]) -> None:
    """Refuse a change under containers' feet. FailedPrecondition names them."""
    for key in ("subnet", "gateway", "subnet6", "gateway6", "mtu"):
        if users and getattr(current, key) != getattr(wanted, key):
            raise FailedPrecondition(
                f"the {key} of network {current.name} can't be changed", why=in_use(users),
                hint="remove the containers first", field=key,
            )  # fmt: skip


def in_use(users: Sequence[str]) -> str:
    """Return who uses a network, in few words."""
    shown = ", ".join(users[:5])
    return f"{len(users)} containers are in it: {shown}{' …' if len(users) > 5 else ''}"


def admit(network: Network, namespace: str, ports: Sequence[Port] = ()) -> None:
    """Refuse containers of a namespace that the network isn't for, PermissionDenied, and ports at addresses
    of a family that the network hasn't, FailedPrecondition.
    """
    if not any(fnmatchcase(namespace, pattern) for pattern in network.namespaces):
        raise PermissionDenied(
            f"network {network.name} isn't for namespace {namespace}",
            why=f"it is for {', '.join(network.namespaces)}", field="network",
        )  # fmt: skip
    subnets = {4: network.subnet, 6: network.subnet6}
    for port in ports:
        families, _ = places_of(port)
        if not any(subnets[version] for version in families):
            version = min(families)
            raise FailedPrecondition(
                f"port {port_text(port)} can't be published",
                why=f"network {network.name} has no IPv{version} addresses",
                hint=f"give it some (`tricorn network create {network.name} --ipv{version}`, while no "
                "container is in it), or publish the port at another address",
                field="ports",
            )  # fmt: skip


# ------------------------------------------------------------ names
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
