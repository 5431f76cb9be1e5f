"""Containers' places in networks: reserved in the database, made, kept for as long as the container is there,
and found again or cleared away by the next agent.

The record comes before anything of a place and goes after all of it, so whatever a crash leaves in the
kernel has a record by which it is undone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog
import trio
from attrs import evolve

from tricorn import limits
from tricorn.errors import FailedPrecondition, TricornError
from tricorn.failpoints import failpoint
from tricorn.model.networks import Attachment, AttachmentView, Network, NetworkChoice, NetworkKind
from tricorn.model.records import Container, Task, TaskStatus
from tricorn.model.requests import ContainerDesired
from tricorn.rules import cni as cni_rules
from tricorn.rules import networks as rules
from tricorn.rules.network_files import joined
from tricorn.rules.network_subnets import take_addresses, with_prefix
from tricorn.rules.nft import table_text
from tricorn.runtime import network as kernel
from tricorn.runtime import nft
from tricorn.runtime.netns import of_process
from tricorn.service.network_making import BridgeMaker, CniMaker
from tricorn.service.network_places import NetworkPlaces
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction
from tricorn.structuring import structure

log = structlog.get_logger(__name__)
_JOINABLE = frozenset({TaskStatus.CREATED, TaskStatus.RUNNING, TaskStatus.PAUSED})


class AttachmentService:
    """Callers hold the container's lock. `tag` tells this agent's interfaces, `table` its packet rules."""

    def __init__(
        self,
        db: Database,
        places: NetworkPlaces,
        bridges: BridgeMaker,
        plugins: CniMaker,
        *,
        tag: str,
        table: str,
    ) -> None:
        self._db = db
        self.places = places
        self.bridges = bridges
        self.plugins = plugins
        self._tag = tag
        self._table = table
        self._rules = trio.Lock()
        self._in_force: str | None = None

    # ------------------------------------------------------------ before a container is made
    async def admit(self, namespace: str, desired: ContainerDesired) -> None:
        """Refuse a network that a container could not join: NotFound, PermissionDenied for another
        namespace's, FailedPrecondition for ports it can't publish, InvalidArgument.
        """
        choice = rules.check_container(desired.network, desired.ports)
        if choice.kind is NetworkKind.BRIDGE:
            network = await self._db.look(lambda tx: tx.networks.get(choice.name))
            rules.admit(network, namespace, desired.ports)
        elif choice.kind is NetworkKind.CNI:
            config = await trio.to_thread.run_sync(self.plugins.cni.find, choice.name)
            cni_rules.check_ports(config, desired.ports)
        elif choice.kind is NetworkKind.CONTAINER:
            await self._db.look(lambda tx: tx.containers.get(namespace, choice.name))

    def fitted(
        self, namespace: str, container: str, desired: ContainerDesired, spec: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the spec with the network namespace that the container will have, and its files."""
        if not rules.parse_network(desired.network).managed:
            return spec
        path = self.places.netns(namespace, container)
        return joined(spec, path, self.places.files(namespace, container))

    # ------------------------------------------------------------ around its processes
    async def spec_for(self, namespace: str, container: Container, spec: bytes) -> bytes:
        """See that the container's network is there, and return the spec to run.

        FailedPrecondition for the network of a container that isn't running; Conflict for a port that is
        taken; ResourceExhausted without a free address; as the makers of networks.
        """
        choice = rules.parse_network(str(container.desired.get("network") or ""))
        if choice.kind is NetworkKind.CONTAINER:
            path, files = await self._of_other(namespace, choice.name)
            return msgspec.json.encode(joined(msgspec.json.decode(spec), path, files))
        if choice.managed:
            hostname = str(msgspec.json.decode(spec).get("hostname") or container.id)
            await self._attach(namespace, container, choice, hostname)
        return spec

    async def _of_other(self, namespace: str, name: str) -> tuple[str, dict[str, str]]:
        """Return the network namespace of another container, and its files if it has some."""

        def look(tx: Transaction) -> tuple[Task | None, Attachment | None]:
            tx.containers.get(namespace, name)
            return tx.tasks.find(namespace, name), tx.attachments.find(namespace, name)

        task, place = await self._db.look(look)
        if place and self.places.ready(namespace, name):
            return self.places.netns(namespace, name), self.places.files(namespace, name)
        if task is None or task.init is None or task.status not in _JOINABLE:
            raise FailedPrecondition(
                f"the network of container {name} can't be joined", why="it isn't running",
                hint=f"start it first: `tricorn -n {namespace} start {name}`", field="network",
            )  # fmt: skip
        return of_process(task.init.pid), {}

    async def _attach(
        self, namespace: str, container: Container, choice: NetworkChoice, hostname: str
    ) -> None:
        place = await self._db.look(lambda tx: tx.attachments.find(namespace, container.id))
        known = place is not None
        if place is None:
            place = await self.reserve(namespace, container, choice)
            failpoint("network.recorded")
        try:
            if not await self._maker(place).whole(place):
                await self.realise(place, hostname)
            await self.refresh_rules()
            failpoint("network.made")
        except BaseException:
            if not known:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
                    await self._give_up(place)
            raise

    async def reserve(
        self, namespace: str, container: Container, choice: NetworkChoice,
        addresses: Sequence[str] = (),
    ) -> Attachment:  # fmt: skip
        """Write a place down, with addresses and ports that nobody else has. With `addresses`, each with the
        length of its prefix, it has those: Conflict when another has one.
        """
        desired = structure({**container.desired}, ContainerDesired, "the stored request")
        place = Attachment(
            namespace, container.id, rules.network_name(choice), ports=tuple(desired.ports),
            host_interface=rules.veth_name(self._tag, namespace, container.id),
        )  # fmt: skip
        if choice.kind is NetworkKind.CNI:
            config = await trio.to_thread.run_sync(self.plugins.cni.find, choice.name)
            cni_rules.check_ports(config, place.ports)
            document = cni_rules.as_document(cni_rules.asked_for(config, addresses) if addresses else config)
            planned = evolve(place, cni=document, host_interface="")
            return await self._db.write(lambda tx: tx.attachments.create(planned))

        def reserve(tx: Transaction) -> Attachment:
            network = tx.networks.get(choice.name)
            rules.admit(network, namespace, place.ports)
            return tx.attachments.create(place, lambda taken: take_addresses(network, addresses, taken))

        return await self._db.write(reserve)

    async def realise(self, place: Attachment, hostname: str) -> Attachment:
        """Make what a record says, in place of what there is of it; as the makers of networks."""
        place = await self._maker(place).make(place, hostname)
        self.places.mark_ready(place.namespace, place.container)
        return place

    async def _give_up(self, place: Attachment) -> None:
        """Undo a place after a failure, which must stay the one that is told."""
        try:
            await self._undo(place)
        except (TricornError, OSError) as error:
            why = {"container": place.container, "error": str(error)}
            log.error("a network is left to the next start of the agent", **why)

    async def release(self, namespace: str, container: str) -> None:
        """Undo a container's place, if it has one; idempotent. What a CNI plugin says that fails is raised,
        and the record stays for another attempt.
        """
        place = await self._db.look(lambda tx: tx.attachments.find(namespace, container))
        if place:
            await self._undo(place)

    async def _undo(self, place: Attachment) -> None:
        key = (place.namespace, place.container)
        if place.ports:
            await self._db.write(lambda tx: tx.attachments.unpublish(*key), durable=False)
            await self.refresh_rules()
        failpoint("network.unpublished")
        await self._maker(place).undo(place)
        failpoint("network.undone")
        await self.places.remove(*key)
        failpoint("network.removed")
        await self._db.write(lambda tx: tx.attachments.delete(*key), durable=False)
        await self.refresh_rules()

    def _maker(self, place: Attachment) -> BridgeMaker | CniMaker:
        return self.bridges if place.cni is None else self.plugins

    # ------------------------------------------------------------ packet rules
    async def refresh_rules(self) -> None:
        """Bring the kernel's rules to what the records say. Unimplemented without nft or nf_tables."""
        async with self._rules:
            networks, published = await self._db.read(_rules_of)
            text = table_text(self._table, networks, published)
            if text == self._in_force:
                return
            if networks or self.places.has_rules:
                self.places.note_rules(there=True)
                await nft.apply(text)
                failpoint("network.rules")
                if not networks:
                    self.places.note_rules(there=False)
            self._in_force = text

    # ------------------------------------------------------------ the next agent
    async def recover(self) -> None:
        """Clear away what nobody needs any more, and see that the packet rules are in force. What fails is
        told, and left to the next start.
        """
        places, containers, networks = await self._db.read(
            lambda tx: (tx.attachments.list_all(), tx.containers.list_all(), tx.networks.list_all())
        )
        known = {(namespace, container.id) for namespace, container in containers}
        for place in places:
            if (place.namespace, place.container) not in known:
                await self._give_up(place)
        kept = [place for place in places if (place.namespace, place.container) in known]
        await self._sweep(networks)
        try:
            await self.refresh_rules()
        except TricornError as error:
            log.error("ports are not published", error=error.one_line())
        await self._collect(kept)

    async def _sweep(self, networks: list[Network]) -> None:
        """Remove what no record tells of: the database may be an older one."""
        places = await self._db.read(lambda tx: tx.attachments.list_all())
        explained = {(place.namespace, place.container) for place in places}
        for namespace, container in self.places.on_disk() - explained:
            await self.places.remove(namespace, container)
            log.info("orphaned network namespace removed", namespace=namespace, container=container)
        wanted = {place.host_interface for place in places} | {network.bridge for network in networks}
        for prefix in ("tv", "tb"):
            for name in kernel.links_with(prefix + self._tag):
                if name not in wanted:
                    await self._remove_orphan(name)

    async def _remove_orphan(self, name: str) -> None:
        try:
            await kernel.remove_link(name)
            log.info("orphaned interface removed", interface=name)
        except TricornError as error:
            log.error("an orphaned interface stays", interface=name, error=error.one_line())

    async def _collect(self, kept: list[Attachment]) -> None:
        """Have plugins that can do so forget containers that are gone."""
        for name in sorted({place.network for place in kept if place.cni is not None}):
            mine = [place for place in kept if place.network == name]
            try:
                config = self.plugins.cni.find(name.partition(":")[2])
            except TricornError:  # it is gone, or broken: nobody can be asked then
                continue
            await self.plugins.cni.collect(config, [self.plugins.place_of(place) for place in mine])

    # ------------------------------------------------------------ views
    async def view(self, namespace: str, container: str) -> AttachmentView | None:
        """Return a container's place, if it has one."""

        def look(tx: Transaction) -> tuple[Attachment, Network | None] | None:
            place = tx.attachments.find(namespace, container)
            return (place, tx.networks.find(place.network)) if place else None

        found = await self._db.look(look)
        return self.shown(*found) if found else None

    def shown(self, place: Attachment, network: Network | None) -> AttachmentView:
        """Return a place as clients see it."""
        addresses, gateway = tuple(cni_rules.addresses(place.result)), cni_rules.gateway(place.result)
        gateway6 = ""
        if network:
            addresses = tuple(with_prefix(network, address) for address in place.addresses)
            gateway, gateway6 = network.gateway, network.gateway6
        return AttachmentView(
            place.namespace, place.container, place.network, addresses, gateway, place.interface,
            place.host_interface, self.places.netns(place.namespace, place.container), place.ports,
            gateway6,
        )  # fmt: skip


def _rules_of(tx: Transaction) -> tuple[list[Network], list[tuple[str, Any]]]:
    used = {place.network for place in tx.attachments.list_all()}
    networks = [network for network in tx.networks.list_all() if network.name in used]
    return networks, [(address, port) for _, address, port in tx.attachments.published()]
