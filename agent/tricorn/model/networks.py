"""Networks of the node, and containers' places in them. Addresses are texts, as people write them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from attrs import Factory, frozen

Protocol = Literal["tcp", "udp"]
CNI: str = "cni:"  # what the names of networks begin with that plugins make


@frozen
class Port:
    """`host`, a port of the node at `address` ("": at all of its addresses, 0.0.0.0 and ::: at all of a
    family), leads to `container`.
    """

    container: int
    host: int
    protocol: Protocol = "tcp"
    address: str = ""


@frozen
class NetworkDesired:
    """Body of `PUT /v1/networks/{network}`: a bridge of the node with a subnet of its own, or one of IPv4 and
    one of IPv6.

    Without `subnet` a new network gets a free one of the configured pool and an old one keeps its; `gateway`
    is the bridge's address, by default the subnet's first; `subnet6` and `gateway6` likewise. `ipv4` and
    `ipv6` tell which it has: without them an old network stays as it is, and a new one has IPv4, and IPv6 if
    a `subnet6` is named. `mtu` 0 is the kernel's default. `masquerade` lets containers reach what is beyond
    the node under its address. `dns` replaces the node's name servers. `namespaces` are patterns of those
    whose containers may join.
    """

    state: Literal["present", "absent"] = "present"
    subnet: str = ""
    gateway: str = ""
    ipv4: bool | None = None
    ipv6: bool | None = None
    subnet6: str = ""
    gateway6: str = ""
    mtu: int = 0
    masquerade: bool = True
    dns: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ("*",)
    labels: Mapping[str, str] = Factory(dict)


@frozen
class Network:
    """The record of a network that the agent makes. `subnet` and `gateway` are of IPv4, `subnet6` and
    `gateway6` of IPv6; a network has both of a pair or none, and has at least one pair.
    """

    name: str
    subnet: str
    gateway: str
    bridge: str  # the interface
    mtu: int = 0
    masquerade: bool = True
    dns: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ("*",)
    labels: Mapping[str, str] = Factory(dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    subnet6: str = ""
    gateway6: str = ""


@frozen
class Attachment:
    """A container's place in a network, written down before anything of it is made.

    `address` and `address6` are in the network's subnets; `interface` is the container's, `host_interface`
    its other end.
    `cni` is the configuration list that made it, `result` what the plugins answered.
    """

    namespace: str
    container: str
    network: str
    address: str = ""
    ports: tuple[Port, ...] = ()
    interface: str = "eth0"
    host_interface: str = ""
    cni: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    address6: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Those that the agent gave it."""
        return tuple(filter(None, (self.address, self.address6)))


class NetworkKind(StrEnum):
    PRIVATE = "private"  # loopback only
    HOST = "host"
    PATH = "path"
    CONTAINER = "container"
    BRIDGE = "bridge"  # a network of the agent's own
    CNI = "cni"


@frozen
class NetworkChoice:
    """What a container's `network` means; `name` is a path, a container or a network."""

    kind: NetworkKind
    name: str = ""

    @property
    def managed(self) -> bool:
        """Whether the agent makes the network namespace, and keeps it as long as the container's record."""
        return self.kind in {NetworkKind.BRIDGE, NetworkKind.CNI}


@frozen
class AttachmentView:
    """A container in a network, as clients see it."""

    namespace: str
    container: str
    network: str
    addresses: tuple[str, ...] = ()
    gateway: str = ""
    interface: str = ""
    host_interface: str = ""
    netns: str = ""
    ports: tuple[Port, ...] = ()
    gateway6: str = ""


@frozen
class PluginView:
    """A plugin of a configuration list: where it is, "" with the reason if it isn't."""

    type: str
    path: str = ""
    reason: str = ""
    capabilities: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()  # of the CNI specification; only when one network is looked at


@frozen
class NetworkView:
    """`driver` is bridge or cni. `up` tells whether the bridge is there now; it is made when a container
    needs it.
    """

    name: str
    driver: Literal["bridge", "cni"]
    subnet: str = ""
    gateway: str = ""
    subnet6: str = ""
    gateway6: str = ""
    mtu: int = 0
    masquerade: bool = False
    dns: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ("*",)
    labels: Mapping[str, str] = Factory(dict)
    bridge: str = ""
    up: bool = False
    containers: tuple[AttachmentView, ...] = ()
    plugins: tuple[PluginView, ...] = ()
    file: str = ""
    cni_version: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
