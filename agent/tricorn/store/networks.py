"""Networks of the node, containers' places in them, and published ports.

A network belongs to no namespace. An address is given once and a port of the node is taken once: the tables
see to that, whoever asks and whatever crashes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from attrs import evolve

from tricorn.errors import AlreadyExists, NotFound
from tricorn.model.networks import Attachment, Network, Port
from tricorn.rules.networks import meet, refuse_taken
from tricorn.store.codec import to_json, to_time
from tricorn.store.session import Session

_networks: Final = msgspec.json.Decoder(Network)
_attachments: Final = msgspec.json.Decoder(Attachment)


class Networks:
    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, network: Network) -> Network:
        """Record a network, in place of an older one of its name."""
        now = self._session.now
        data = to_json(evolve(network, created_at=None, updated_at=None))
        self._session.run_aside(
            "INSERT INTO networks VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
            "data = excluded.data, updated_at = excluded.updated_at",
            network.name, data, now, now,
        )  # fmt: skip
        return self.get(network.name)

    def find(self, name: str) -> Network | None:
        row = self._session.one("SELECT data, created_at, updated_at FROM networks WHERE name = ?", name)
        return _network(row) if row else None

    def get(self, name: str) -> Network:
        found = self.find(name)
        if found is None:
            raise NotFound(
                f"network {name} does not exist",
                hint=f"`tricorn network ls` lists them, `tricorn network create {name}` makes it",
                field="network",
            )
        return found

    def list_all(self) -> list[Network]:
        """Return all networks by name."""
        rows = self._session.all("SELECT data, created_at, updated_at FROM networks ORDER BY name")
        return [_network(row) for row in rows]

    def delete(self, name: str) -> None:
        """Remove the record. NotFound."""
        if not self._session.run_aside("DELETE FROM networks WHERE name = ?", name):
            raise NotFound(f"network {name} does not exist")


class Attachments:
    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(
        self, attachment: Attachment, choose: Callable[[set[str]], tuple[str, str]] | None = None
    ) -> Attachment:
        """Record a container's place. With `choose` it gets the addresses that returns of those not taken.

        AlreadyExists for a container that has one, Conflict for a port that another has.
        """
        if choose:
            address, address6 = choose(self._addresses(attachment.network))
            attachment = evolve(attachment, address=address, address6=address6)
        key = (attachment.namespace, attachment.container)
        try:
            self._session.run_aside(
                "INSERT INTO attachments VALUES (?, ?, ?, ?, ?, ?)",
                *key, attachment.network, attachment.address or None, to_json(attachment),
                attachment.address6 or None,
            )  # fmt: skip
        except sqlite3.IntegrityError:
            raise AlreadyExists(f"container {key[1]} of namespace {key[0]} is in a network already") from None
        self._publish(key, attachment.ports)
        return attachment

    def _publish(self, key: tuple[str, str], ports: Sequence[Port]) -> None:
        for port in ports:
            for address, *holder in self._session.all(
                "SELECT address, namespace, container FROM published WHERE protocol = ? AND port = ?",
                port.protocol, port.host,
            ):  # fmt: skip
                if meet(port, evolve(port, address=address)):
                    raise refuse_taken(port, (holder[0], holder[1]))
            self._session.run_aside(
                "INSERT INTO published VALUES (?, ?, ?, ?, ?)", port.protocol, port.host, port.address, *key
            )

    def _addresses(self, network: str) -> set[str]:
        rows = self._session.all("SELECT address, address6 FROM attachments WHERE network = ?", network)
        return {address for row in rows for address in row if address}

    def replace(self, attachment: Attachment) -> None:
        """Store what has become of a place; its addresses and ports stay. NotFound."""
        if not self._session.run_aside(
            "UPDATE attachments SET data = ? WHERE namespace = ? AND container = ?",
            to_json(attachment), attachment.namespace, attachment.container,
        ):  # fmt: skip
            raise NotFound(f"container {attachment.container} is in no network")

    def find(self, namespace: str, container: str) -> Attachment | None:
        row = self._session.one(
            "SELECT data FROM attachments WHERE namespace = ? AND container = ?", namespace, container
        )
        return _attachments.decode(row[0]) if row else None

    def unpublish(self, namespace: str, container: str) -> None:
        """Give the ports of a container free, which is on its way out; its address follows with `delete`."""
        self._session.run_aside(
            "DELETE FROM published WHERE namespace = ? AND container = ?", namespace, container
        )

    def delete(self, namespace: str, container: str) -> None:
        """Give address and ports free. Idempotent, for recovery repeats it."""
        self.unpublish(namespace, container)
        self._session.run_aside(
            "DELETE FROM attachments WHERE namespace = ? AND container = ?", namespace, container
        )

    def list_all(self, network: str | None = None) -> list[Attachment]:
        """Return the places in all networks, or in one, by namespace and container."""
        where, values = ("WHERE network = ? ", (network,)) if network is not None else ("", ())
        rows = self._session.all(
            f"SELECT data FROM attachments {where}ORDER BY namespace, container",  # noqa: S608 - constants
            *values,
        )
        return [_attachments.decode(row[0]) for row in rows]

    def published(self) -> list[tuple[str, str, Port]]:
        """Return (network, address, port) of all published ports of the agent's own networks, for each of a
        container's addresses.
        """
        rows = self._session.all(
            "SELECT DISTINCT namespace, container FROM published ORDER BY namespace, container"
        )
        found = []
        for namespace, container in rows:
            place = self.find(namespace, container)
            if place:
                found += [(place.network, text, port) for text in place.addresses for port in place.ports]
        return found


def _network(row: tuple[Any, ...]) -> Network:
    return evolve(_networks.decode(row[0]), created_at=to_time(row[1]), updated_at=to_time(row[2]))
