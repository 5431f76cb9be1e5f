"""How a container's place in a network is made and undone: by the agent itself, or by CNI plugins.

Both find in the record all that is needed to undo a place, made wholly, in part or not at all.
"""

from __future__ import annotations

from typing import Any

import structlog
import trio
from attrs import evolve

from tricorn.errors import TricornError
from tricorn.failpoints import failpoint
from tricorn.model.networks import Attachment, Network
from tricorn.rules import cni as cni_rules
from tricorn.rules.network_subnets import mac_of, with_prefix
from tricorn.rules.networks import cni_id
from tricorn.runtime import network as kernel
from tricorn.runtime import network_hold, network_ipv6, nft
from tricorn.runtime.cni import Cni, Place
from tricorn.service.network_places import NetworkPlaces
from tricorn.store.db import Database

log = structlog.get_logger(__name__)


class BridgeMaker:
    """Places in networks of the agent's own: a bridge, and a pair of interfaces for each container."""

    def __init__(self, db: Database, places: NetworkPlaces) -> None:
        self._db = db
        self._places = places
        self._bridges = trio.Lock()

    async def whole(self, place: Attachment) -> bool:
        """Return whether the kernel has all of a place."""
        ready = self._places.ready(place.namespace, place.container)
        return ready and kernel.link_exists(place.host_interface)

    async def make(self, place: Attachment, hostname: str) -> Attachment:
        """Make what the record says, in place of what is left of it."""
        network = await self._db.look(lambda tx: tx.networks.get(place.network))
        await self.ensure_bridge(network)
        path = await self._places.make(place.namespace, place.container)
        failpoint("network.namespace")
        await kernel.plug(
            kernel.Plug(
                netns=path, bridge=network.bridge, host_interface=place.host_interface,
                interface=place.interface,
                addresses=tuple(with_prefix(network, address) for address in place.addresses),
                mac=mac_of(place.addresses[0]), gateways=_gateways(network), mtu=network.mtu,
            )
        )  # fmt: skip
        failpoint("network.plugged")
        await self._announce(place, path)
        await self._places.write_files(
            place.namespace, place.container, hostname=hostname, addresses=place.addresses,
            servers=network.dns,
        )  # fmt: skip
        return place

    async def _announce(self, place: Attachment, path: str) -> None:
        """Tell neighbours and the bridges between where the addresses are now: they may remember the last
        one that had them, and go on sending there for a minute. One that is moving here is announced later.
        """
        if self._places.is_held(place.namespace, place.container):
            return
        for address in place.addresses:
            await network_hold.announce(path, place.interface, address)

    async def undo(self, place: Attachment) -> None:
        """Remove the pair; idempotent."""
        await kernel.remove_link(place.host_interface)

    async def ensure_bridge(self, network: Network) -> None:
        """Make a network's bridge, unless it is there. Unimplemented, PermissionDenied."""
        gateways = _gateways(network)
        wanted = kernel.Bridge(
            network.bridge, tuple(with_prefix(network, address) for address in gateways),
            mac_of(gateways[0]), network.mtu, f"tricorn {network.name}",
        )  # fmt: skip
        async with self._bridges:
            await kernel.ensure_bridge(wanted)
            await trio.to_thread.run_sync(_allow_forwarding, network)

    async def remove_bridge(self, name: str) -> bool:
        async with self._bridges:
            return await kernel.remove_link(name)


def _gateways(network: Network) -> tuple[str, ...]:
    return tuple(filter(None, (network.gateway, network.gateway6)))


def _allow_forwarding(network: Network) -> None:
    if network.subnet and nft.allow_forwarding(network.bridge):
        log.info("the kernel forwards packets from now on", setting="net.ipv4.ip_forward")
    kept = network_ipv6.allow_forwarding() if network.subnet6 else None
    if kept is not None:
        setting = "net.ipv6.conf.all.forwarding"
        log.info("the kernel forwards packets from now on", setting=setting, accept_ra=list(kept))


class CniMaker:
    """Places in networks that plugins make."""

    def __init__(self, db: Database, places: NetworkPlaces, cni: Cni) -> None:
        self._db = db
        self._places = places
        self.cni = cni

    async def whole(self, place: Attachment) -> bool:
        """Return whether a place is as the plugins left it; they are asked, if they can tell."""
        if place.result is None or not self._places.ready(place.namespace, place.container):
            return False
        try:
            await self.cni.check(_list_of(place), self.place_of(place), place.result)
        except TricornError as error:
            log.warning("a container's network is made anew", container=place.container, why=str(error))
            return False
        return True

    async def make(self, place: Attachment, hostname: str) -> Attachment:
        """Have the plugins make it, in place of what is left of it; what they answered is recorded.

        Unimplemented for a missing plugin, FailedPrecondition with a plugin's words.
        """
        if place.result is not None:  # the specification wants every ADD undone before the next
            await self._leave(place)
        path = await self._places.make(place.namespace, place.container)
        await kernel.loopback_up(path)
        failpoint("network.namespace")
        result = await self.cni.add(_list_of(place), self.place_of(place))
        failpoint("network.added")
        made = evolve(place, result=result)
        await self._db.write(lambda tx: tx.attachments.replace(made))
        servers, search = cni_rules.resolver(result)
        await self._places.write_files(
            place.namespace, place.container, hostname=hostname, servers=servers, search=search,
            addresses=[each.partition("/")[0] for each in cni_rules.addresses(result)],
        )  # fmt: skip
        return made

    async def _leave(self, place: Attachment) -> None:
        try:
            await self.undo(place)
        except TricornError as error:
            log.warning("CNI network not left cleanly", container=place.container, error=error.one_line())

    async def undo(self, place: Attachment) -> None:
        """Have the plugins undo it; idempotent, as DEL must be. FailedPrecondition, Unimplemented."""
        await self.cni.delete(_list_of(place), self.place_of(place), place.result)

    def place_of(self, place: Attachment) -> Place:
        """Return a container's place in the plugins' words."""
        told: dict[str, Any] = {cni_rules.PORTS: cni_rules.port_mappings(place.ports)}
        path = self._places.netns(place.namespace, place.container)
        return Place(cni_id(place.namespace, place.container), path, place.interface, told)


def _list_of(place: Attachment) -> cni_rules.ConfigList:
    """Return the list as it was when the container joined: DEL gets what ADD got."""
    return cni_rules.parse_list(place.cni or {}, f"the record of container {place.container}")
