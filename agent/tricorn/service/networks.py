"""Networks of the node as desired states: bridges of the agent's own, and those of CNI lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
import trio
from attrs import asdict, evolve

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument, TricornError
from tricorn.model.filters import select
from tricorn.model.networks import (
    CNI,
    Attachment,
    Network,
    NetworkDesired,
    NetworkView,
    PluginView,
)
from tricorn.model.requests import Action, Change
from tricorn.rules import network_subnets as subnets
from tricorn.rules import networks as rules
from tricorn.rules.cni import ConfigList
from tricorn.runtime import network as kernel
from tricorn.runtime import network_ipv6, nft
from tricorn.runtime.cni import Cni
from tricorn.service.attachments import AttachmentService
from tricorn.service.network_making import BridgeMaker
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
_POLL = 0.05  # seconds between looks at containers that are on their way out
_CUT_OFF = (
    "published ports don't answer at ::1, but at all other addresses of the node: "
    "net.bridge.bridge-nf-call-ip6tables is 1"
)
_SHOWN = ("subnet", "gateway", "subnet6", "gateway6", "mtu", "masquerade", "dns", "namespaces", "labels")


class NetworkService:
    """Networks belong to the node; `pool` and `pool6` are where subnets come from that nobody names: without
    `pool6` those of IPv6 are of the node's own unique local addresses.
    """

    def __init__(
        self,
        db: Database,
        attachments: AttachmentService,
        bridges: BridgeMaker,
        cni: Cni,
        *,
        tag: str,
        pool: str,
        pool6: str = "",
    ) -> None:
        self._db = db
        self.attachments = attachments
        self._bridges = bridges
        self._cni = cni
        self._tag = tag
        self._pool = pool
        self._pool6 = pool6

    # ------------------------------------------------------------ looking
    async def list(self, filters: Sequence[str] = ()) -> list[NetworkView]:
        """Return the networks that match any filter: the agent's own by name, then the CNI lists."""
        networks, places = await self._db.read(lambda tx: (tx.networks.list_all(), tx.attachments.list_all()))
        views = [self._view(network, places) for network in networks]
        for name, file in sorted((await trio.to_thread.run_sync(self._cni.names)).items()):
            views.append(await self._cni_view(name, file, places, versions=False))
        return select(filters, views)

    async def get(self, name: str) -> NetworkView:
        """Return a network with the containers in it. NotFound."""
        if name.startswith(CNI):
            short = name.removeprefix(CNI)
            places = await self._db.read(lambda tx: tx.attachments.list_all(name))
            await trio.to_thread.run_sync(self._cni.find, short)
            file = (await trio.to_thread.run_sync(self._cni.names)).get(short, "")
            return await self._cni_view(short, file, places, versions=True)
        network, places = await self._db.read(
            lambda tx: (tx.networks.get(name), tx.attachments.list_all(name))
        )
        return self._view(network, places)

    def _view(self, network: Network, places: Sequence[Attachment]) -> NetworkView:
        values = asdict(network, recurse=False)
        users = [place for place in places if place.network == network.name]
        return NetworkView(
            driver="bridge", up=kernel.link_exists(network.bridge), **values,
            containers=tuple(self.attachments.shown(place, network) for place in users),
        )  # fmt: skip

    async def _cni_view(
        self, name: str, file: str, places: Sequence[Attachment], *, versions: bool
    ) -> NetworkView:
        config = await trio.to_thread.run_sync(self._cni.find, name)
        users = [place for place in places if place.network == CNI + name]
        plugins = [await self._plugin(plugin, versions=versions) for plugin in config.plugins]
        return NetworkView(
            CNI + name, "cni", containers=tuple(self.attachments.shown(place, None) for place in users),
            plugins=tuple(plugins), file=file, cni_version=config.version, up=_usable(config, plugins),
        )  # fmt: skip

    async def _plugin(self, plugin: Mapping[str, Any], *, versions: bool) -> PluginView:
        kind = str(plugin["type"])
        told = tuple(sorted(key for key, wanted in (plugin.get("capabilities") or {}).items() if wanted))
        try:
            path = self._cni.path(kind)
            known = await self._cni.versions(kind) if versions else ()
        except TricornError as error:
            return PluginView(kind, reason=error.one_line(), capabilities=told)
        return PluginView(kind, path, capabilities=told, versions=known)

    # ------------------------------------------------------------ desired state
    async def put(self, name: str, desired: NetworkDesired, *, plan: bool = False) -> Change:
        """Make sure that a network is there as described, or that it isn't.

        InvalidArgument; Conflict for a subnet that is in use; FailedPrecondition while containers are in a
        network that would go or get other addresses; Unimplemented for a kernel without bridges, or without
        IPv6 if the network has it, and a node without nft.
        """
        if name.startswith(CNI):
            raise InvalidArgument(
                f"network {name} is a configuration list", why="its file is where it is changed",
                hint=f"put a .conflist into {self._cni.lists}, or remove it", field="network",
            )  # fmt: skip
        subnets.check_name(name)
        if desired.state == "absent":
            return await self._absent(name, plan=plan)
        current = await self._db.read(lambda tx: tx.networks.find(name))
        if current and not plan:
            await self._wait_for_leavers(name)
        foreign = await self._foreign(current, desired)
        change, wanted = await self._db.read(lambda tx: self._planned(tx, name, desired, foreign))
        if change.changed and wanted.subnet6:
            network_ipv6.need()
        if plan or not change.changed:
            return change
        if current is None:
            nft.program()  # before there is a network that nothing could use
        change, wanted = await self._db.write(lambda tx: self._store(tx, name, desired, foreign))
        await self._realise(current, wanted)
        log.info("network changed", network=name, subnet=wanted.subnet, subnet6=wanted.subnet6)
        if wanted.subnet6 and network_ipv6.loopback_is_cut_off():
            return evolve(change, warnings=(_CUT_OFF,))
        return change

    async def _foreign(self, current: Network | None, desired: NetworkDesired) -> Sequence[str]:
        """Return the subnets of interfaces that aren't the agent's, if a new subnet must not meet them."""
        if current and not subnets.may_move(current, desired):
            return []
        found = await kernel.host_interfaces()
        return [
            address
            for each in found
            if not each["name"].startswith(f"tb{self._tag}")
            for address in each["addresses"]
        ]

    def _planned(
        self, tx: Transaction, name: str, desired: NetworkDesired, foreign: Sequence[str]
    ) -> tuple[Change, Network]:
        current = tx.networks.find(name)
        kept = [network for network in tx.networks.list_all() if network.name != name]
        others = [text for network in kept for text in (network.subnet, network.subnet6) if text]
        wanted = subnets.complete(
            name, desired, current, pool=self._pool, pool6=self._pool6 or _own_pool(self._tag),
            taken=[*others, *foreign], bridge=rules.bridge_name(self._tag, name),
        )  # fmt: skip
        before = _summary(current)
        if current and rules.same(wanted, current):
            return Change(changed=False, before=before, after=before), wanted
        if current:
            rules.must_stay(current, wanted, _users(tx, name))
        verb, reason = ("update", "it differs") if current else ("create", "no such network")
        actions = (Action(verb, f"network/{name}", reason),)
        return Change(changed=True, actions=actions, before=before, after=_summary(wanted)), wanted

    def _store(
        self, tx: Transaction, name: str, desired: NetworkDesired, foreign: Sequence[str]
    ) -> tuple[Change, Network]:
        change, wanted = self._planned(tx, name, desired, foreign)
        return change, tx.networks.put(wanted)

    async def _realise(self, current: Network | None, wanted: Network) -> None:
        """Make the bridge; a new network that can't have one is none."""
        try:
            if current and not _same_bridge(current, wanted):
                await self._bridges.remove_bridge(current.bridge)
            await self._bridges.ensure_bridge(wanted)
            await self.attachments.refresh_rules()
        except BaseException:
            if current is None:
                with trio.CancelScope(shield=True):
                    await self._db.write(lambda tx: _drop_unused(tx, wanted.name))
                    await self._bridges.remove_bridge(wanted.bridge)
            raise

    async def _absent(self, name: str, *, plan: bool) -> Change:
        def forget(tx: Transaction) -> tuple[Change, Network | None]:
            current = tx.networks.find(name)
            if current is None:
                return Change(changed=False), None
            if users := _users(tx, name):
                raise FailedPrecondition(
                    f"network {name} can't be removed", why=rules.in_use(users),
                    hint="remove the containers first",
                )  # fmt: skip
            if not plan:
                tx.networks.delete(name)
            actions = (Action("remove", f"network/{name}", "wanted absent"),)
            return Change(changed=True, actions=actions, before=_summary(current)), current

        await self._wait_for_leavers(name)
        change, gone = await (self._db.read(forget) if plan else self._db.write(forget))
        if gone and not plan:
            with trio.CancelScope(shield=True):
                await self._bridges.remove_bridge(gone.bridge)
            log.info("network removed", network=name)
        return change

    async def _wait_for_leavers(self, name: str) -> None:
        """Wait while none are in a network but containers whose removal has been answered already."""

        def leaving(tx: Transaction) -> bool:
            places = tx.attachments.list_all(name)
            return bool(places) and not any(
                tx.containers.find(place.namespace, place.container) for place in places
            )

        with trio.move_on_after(limits.CLEANUP_DEADLINE):
            while await self._db.read(leaving):  # noqa: ASYNC110 - nothing else tells
                await trio.sleep(_POLL)


def _own_pool(tag: str) -> str:
    """Return the unique local addresses of this agent, which are the same whenever it asks."""
    machine = ""
    with suppress(OSError), open("/etc/machine-id", encoding="ascii", errors="replace") as file:
        machine = file.read(64).strip()
    return subnets.ula_prefix(f"tricorn {machine} {tag}")


def _users(tx: Transaction, name: str) -> list[str]:
    return [f"{place.namespace}/{place.container}" for place in tx.attachments.list_all(name)]


def _drop_unused(tx: Transaction, name: str) -> None:
    if tx.networks.find(name) and not _users(tx, name):
        tx.networks.delete(name)


def _same_bridge(one: Network, other: Network) -> bool:
    return evolve(
        one, masquerade=other.masquerade, dns=other.dns, namespaces=other.namespaces, labels=other.labels,
        created_at=other.created_at, updated_at=other.updated_at,
    ) == other  # fmt: skip


def _summary(network: Network | None) -> dict[str, Any]:
    if network is None:
        return {}
    values = {key: getattr(network, key) for key in _SHOWN}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    return {"name": network.name, **plain, "labels": dict(network.labels)}


def _usable(config: ConfigList, plugins: Sequence[PluginView]) -> bool:
    return bool(config.plugins) and all(plugin.path for plugin in plugins)
