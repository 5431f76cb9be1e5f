"""Networks of containers that move between nodes: what the source tells of a place, how the target makes one
of its own before the container stands still, and that nobody answers for it in between.
"""

from __future__ import annotations

import os
from functools import partial

import structlog
import trio
from attrs import frozen

from tricorn.errors import Conflict, NotFound, TricornError
from tricorn.model.networks import Attachment, NetworkChoice, NetworkKind
from tricorn.model.records import Container
from tricorn.model.requests import ContainerDesired
from tricorn.rules import cni as cni_rules
from tricorn.rules import networks as rules
from tricorn.rules.network_subnets import take_addresses
from tricorn.rules.open_sockets import FILES, Needs, needs_of
from tricorn.rules.plan import canonical
from tricorn.runtime import network_hold
from tricorn.service.attachments import AttachmentService
from tricorn.store.db import Database
from tricorn.store.transaction import Transaction

log = structlog.get_logger(__name__)
_LIMITER = trio.CapacityLimiter(2)


@frozen
class Arriving:
    """A container that comes: its request, the addresses (with the length of their prefix) that it brings,
    and whether it can't do without. `keeps` is whether it will have them.
    """

    namespace: str
    name: str
    desired: ContainerDesired
    addresses: tuple[str, ...] = ()
    must: bool = False
    keeps: bool = False

    @property
    def choice(self) -> NetworkChoice:
        return rules.parse_network(self.desired.network)

    @property
    def container(self) -> Container:
        return Container(self.name, desired=canonical(self.desired))


class NetworkMoves:
    """Callers hold the container's lock."""

    def __init__(self, db: Database, attachments: AttachmentService) -> None:
        self._db = db
        self._attachments = attachments
        self._places = attachments.places

    # ------------------------------------------------------------ at the source
    async def addresses_of(self, namespace: str, container: str) -> tuple[str, ...]:
        """Return the addresses that a container has in its network, with the length of their prefix, those of
        IPv4 first; none for one that has none of its own.
        """
        shown = await self._attachments.view(namespace, container)
        return tuple(sorted(shown.addresses if shown else (), key=lambda text: ":" in text))

    async def needs(self, pid: int) -> Needs:
        """Return what the sockets of a container's network namespace need; NotFound when it has ended."""
        try:
            tables = await trio.to_thread.run_sync(_tables, pid, limiter=_LIMITER)
        except OSError as error:
            raise NotFound("the container has just ended", why=str(error)) from None
        return needs_of(tables)

    async def silence(self, namespace: str, container: str) -> None:
        """Let nothing through to a container that stands still, nor anything from it, and answer no
        neighbour in its place: from now on that is another node's.
        """
        self._places.note_held(namespace, container, held=True)
        await network_hold.hold(self._places.netns(namespace, container), silent=True)

    async def free(self, namespace: str, container: str) -> None:
        """Undo `silence`, or what `prepare` held, and tell the neighbours where the container is; idempotent.
        What fails is told in the log.
        """
        if (namespace, container) not in self._places.held():
            return
        path = self._places.netns(namespace, container)
        try:
            await network_hold.free(path)
            self._places.note_held(namespace, container, held=False)
            for address in await self.addresses_of(namespace, container):
                await network_hold.announce(path, "eth0", address.partition("/")[0])
        except (TricornError, OSError) as error:
            log.error("a container's network is held", container=container, error=str(error)[:300])

    async def recover(self, moving: set[tuple[str, str]]) -> None:
        """Free the containers that an agent which ended held, but those of (namespace, container)."""
        for namespace, container in self._places.held() - moving:
            await self.free(namespace, container)

    # ------------------------------------------------------------ at the target
    async def foresee(self, coming: Arriving) -> bool:
        """Return whether a container would keep its addresses here.

        As `AttachmentService.admit`; Conflict for a port that is taken, or for the address, if it must have
        it; Unimplemented for a plugin that is missing.
        """
        choice = coming.choice
        await self._attachments.admit(coming.namespace, coming.desired)
        if not choice.managed:
            return False
        await self._db.read(partial(_check_ports, coming))
        if choice.kind is NetworkKind.CNI:
            cni = self._attachments.plugins.cni
            config = await trio.to_thread.run_sync(cni.find, choice.name)
            for plugin in config.plugins:
                cni.path(plugin["type"])
            if coming.must and coming.addresses:
                cni_rules.asked_for(config, coming.addresses)
            return coming.must and bool(coming.addresses)
        if not coming.addresses:
            return False
        try:
            await self._db.read(partial(_take, coming))
        except Conflict as error:
            if coming.must:
                raise
            log.info("an address doesn't move along", container=coming.name, error=error.one_line())
            return False
        return True

    async def prepare(self, coming: Arriving) -> None:
        """Give the container its place before its processes come. Where it keeps its address, which the
        source's copy still has, what leads to it is made with them, and nothing gets through until `free`.

        Raises as `foresee`, and what makers of networks raise.
        """
        if not coming.choice.managed:
            return
        wanted = coming.addresses if coming.keeps else ()
        place = await self._attachments.reserve(coming.namespace, coming.container, coming.choice, wanted)
        if not coming.keeps:
            await self._attachments.realise(place, coming.desired.hostname or coming.name)
            return
        if place.cni is None:
            network = await self._db.look(lambda tx: tx.networks.get(place.network))
            await self._attachments.bridges.ensure_bridge(network)
        path = await self._places.make(coming.namespace, coming.name)
        self._places.note_held(coming.namespace, coming.name, held=True)
        await network_hold.hold(path, silent=False)
        await network_hold.own_at_once(path)


def _take(coming: Arriving, tx: Transaction) -> tuple[str, str]:
    network = tx.networks.get(coming.choice.name)
    taken = {address for place in tx.attachments.list_all(network.name) for address in place.addresses}
    return take_addresses(network, coming.addresses, taken)


def _check_ports(coming: Arriving, tx: Transaction) -> None:
    for place in tx.attachments.list_all():
        for port in place.ports:
            if any(rules.meet(port, wanted) for wanted in coming.desired.ports) and _published(tx, place):
                raise rules.refuse_taken(port, (place.namespace, place.container))


def _published(tx: Transaction, place: Attachment) -> bool:
    """Return whether a place's ports are its own still: one that is on its way out has none."""
    return tx.containers.find(place.namespace, place.container) is not None


def _tables(pid: int) -> dict[str, str]:
    tables = {}
    for name in FILES:
        path = f"/proc/{pid}/net/{name}"
        if os.path.exists(path):  # a kernel without IPv6
            with open(path, encoding="ascii") as file:
                tables[name] = file.read()
    return tables
