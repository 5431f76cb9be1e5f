"""Networks and places in them: no address and no port is given twice."""

from __future__ import annotations

import pytest
from attrs import evolve

from tricorn.errors import AlreadyExists, Conflict, NotFound
from tricorn.model.networks import Attachment, Network, Port
from tricorn.rules.network_subnets import choose_addresses
from tricorn.store.transaction import Transaction

FRONT = Network("front", "10.40.0.0/29", "10.40.0.1", "tb0", labels={"a": "b"}, dns=("10.0.0.53",))
PLACE = Attachment("n", "c1", "front", ports=(Port(80, 8080),), host_interface="tv1")


def add(tx: Transaction, place: Attachment) -> Attachment:
    return tx.attachments.create(place, lambda taken: choose_addresses(FRONT, taken))


def test_life_of_a_network(tx: Transaction) -> None:
    made = tx.networks.put(FRONT)
    assert made == evolve(FRONT, created_at=tx.now, updated_at=tx.now)
    changed = tx.networks.put(evolve(FRONT, labels={}))
    assert (changed.labels, changed.created_at) == ({}, made.created_at)
    assert tx.networks.list_all() == [changed]
    tx.networks.delete("front")
    assert tx.networks.find("front") is None
    for call in (tx.networks.get, tx.networks.delete):
        with pytest.raises(NotFound):
            call("front")


def test_an_address_is_given_once(tx: Transaction) -> None:
    first = add(tx, PLACE)
    second = add(tx, evolve(PLACE, container="c2", ports=()))
    assert (first.address, second.address) == ("10.40.0.2", "10.40.0.3")
    with pytest.raises(AlreadyExists):
        add(tx, evolve(PLACE, ports=()))
    with pytest.raises(AlreadyExists):
        tx.attachments.create(evolve(second, container="c3"))
    tx.attachments.delete("n", "c1")
    tx.attachments.delete("n", "c1")
    assert add(tx, evolve(PLACE, container="c3")).address == "10.40.0.2"


def test_an_address_of_ipv6_is_given_once(tx: Transaction) -> None:
    six = evolve(FRONT, subnet="", gateway="", subnet6="fd40::/64", gateway6="fd40::1")
    first, second = (
        tx.attachments.create(
            evolve(PLACE, container=name, ports=ports), lambda taken: choose_addresses(six, taken)
        )
        for name, ports in (("c1", PLACE.ports), ("c2", ()))
    )
    assert (first.addresses, second.addresses) == (("fd40::2",), ("fd40::3",))
    assert tx.attachments.published() == [("front", "fd40::2", Port(80, 8080))]
    assert tx.attachments.find("n", "c2") == second
    with pytest.raises(AlreadyExists):
        tx.attachments.create(evolve(second, container="c3"))


@pytest.mark.parametrize(
    ("port", "free"),
    [
        (Port(1, 8080), False),
        (Port(1, 8080, "tcp", "192.0.2.1"), False),
        (Port(1, 8080, "udp"), True),
        (Port(1, 8081), True),
    ],
)
def test_a_port_is_taken_once(tx: Transaction, port: Port, free: bool) -> None:
    add(tx, PLACE)
    other = evolve(PLACE, container="c2", ports=(port,))
    if free:
        add(tx, other)
    else:
        with pytest.raises(Conflict, match="container c1 of namespace n has it"):
            add(tx, other)


def test_two_addresses_of_the_node_have_a_port_each(tx: Transaction) -> None:
    for last in (1, 2):
        add(tx, evolve(PLACE, container=f"c{last}", ports=(Port(80, 80, "tcp", f"192.0.2.{last}"),)))
    with pytest.raises(Conflict):
        add(tx, evolve(PLACE, container="c3", ports=(Port(80, 80),)))


def test_ports_go_before_the_address(tx: Transaction) -> None:
    place = add(tx, PLACE)
    assert tx.attachments.published() == [("front", place.address, Port(80, 8080))]
    tx.attachments.unpublish("n", "c1")
    assert tx.attachments.published() == []
    assert add(tx, evolve(PLACE, container="c2")).address == "10.40.0.3"


def test_what_became_of_a_place_is_kept(tx: Transaction) -> None:
    tx.attachments.create(evolve(PLACE, network="cni:pods", ports=(), cni={"name": "pods"}))
    made = evolve(PLACE, network="cni:pods", ports=(), cni={"name": "pods"}, result={"ips": []})
    tx.attachments.replace(made)
    assert tx.attachments.find("n", "c1") == made
    assert tx.attachments.list_all("cni:pods") == tx.attachments.list_all() == [made]
    assert tx.attachments.list_all("front") == []
    with pytest.raises(NotFound):
        tx.attachments.replace(evolve(made, container="c2"))
