"""Subnets of networks, and the addresses in them."""

from __future__ import annotations

import ipaddress

import pytest
from attrs import evolve

from tricorn.errors import Conflict, InvalidArgument, ResourceExhausted
from tricorn.model.networks import Network, NetworkDesired
from tricorn.rules.network_subnets import (
    choose_addresses,
    complete,
    mac_of,
    may_move,
    take_addresses,
    ula_prefix,
    with_prefix,
)

FRONT = Network("front", "10.40.0.0/29", "10.40.0.1", "tb0")
DUAL = evolve(FRONT, subnet6="fd40::/64", gateway6="fd40::1")
SIX = evolve(DUAL, subnet="", gateway="")


def made(current: Network | None = None, taken: tuple[str, ...] = (), **desired: object) -> Network:
    wanted = NetworkDesired(**desired)  # type: ignore[arg-type]
    pools = {"pool": "10.90.0.0/23", "pool6": "fd90::/48"}
    return complete("front", wanted, current, taken=taken, bridge="tb0", **pools)


def test_a_network_is_completed() -> None:
    found = made()
    assert (found.subnet, found.gateway, found.bridge) == ("10.90.0.0/24", "10.90.0.1", "tb0")
    assert made(taken=("10.90.0.7/32",)).subnet == "10.90.1.0/24"
    assert made(subnet="10.1.0.0/16", gateway="10.1.2.3").gateway == "10.1.2.3"
    with pytest.raises(ResourceExhausted):
        made(taken=("10.90.0.0/16",))


def test_what_is_left_out_is_kept() -> None:
    current = evolve(FRONT, gateway="10.40.0.3")
    assert made(current).gateway == "10.40.0.3"
    assert made(current, subnet="10.40.0.0/29").gateway == "10.40.0.3"
    assert made(current, subnet="10.41.0.0/29").gateway == "10.41.0.1"


@pytest.mark.parametrize(
    ("desired", "field"),
    [
        ({"subnet": "10.0.0.1/24"}, "subnet"),
        ({"subnet": "fd00::/64"}, "subnet"),
        ({"subnet6": "10.0.0.0/24"}, "subnet6"),
        ({"subnet6": "fd00::1/64"}, "subnet6"),
        ({"subnet6": "fd00::/127"}, "subnet6"),
        ({"subnet6": "fe80::/64"}, "subnet6"),
        ({"subnet6": "ff00::/64"}, "subnet6"),
        ({"subnet6": "::/64"}, "subnet6"),
        ({"subnet6": "fd00::/64", "gateway6": "fd00::"}, "gateway6"),
        ({"subnet6": "fd00::/64", "gateway6": "fd01::1"}, "gateway6"),
        ({"subnet6": "fd00::/64", "gateway6": "fd00::1%eth0"}, "gateway6"),
        ({"subnet6": "fd00::/64", "gateway6": "10.0.0.1"}, "gateway6"),
        ({"subnet6": "fd00::/64", "ipv6": False}, "subnet6"),
        ({"subnet": "10.0.0.0/24", "ipv4": False, "ipv6": True}, "subnet"),
        ({"ipv4": False}, "ipv6"),
        ({"ipv6": True, "mtu": 1279}, "mtu"),
        ({"subnet": "10.0.0.0/31"}, "subnet"),
        ({"subnet": "127.0.0.0/24"}, "subnet"),
        ({"subnet": "10.0.0.0/24", "gateway": "10.0.1.1"}, "gateway"),
        ({"subnet": "10.0.0.0/24", "gateway": "10.0.0.255"}, "gateway"),
        ({"mtu": 100}, "mtu"),
        ({"dns": ("resolver",)}, "dns"),
        ({"namespaces": ()}, "namespaces"),
    ],
)
def test_malformed_descriptions_are_refused(desired: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        made(**desired)
    assert caught.value.field == field


def test_a_taken_subnet_is_refused() -> None:
    with pytest.raises(Conflict, match="is in use"):
        made(taken=("10.40.0.0/24",), subnet="10.40.0.128/25")


def test_a_subnet_of_ipv6_beside_or_in_place_of_the_other() -> None:
    both = made(subnet6="2001:db8::/64")
    assert (both.subnet, both.subnet6, both.gateway6) == ("10.90.0.0/24", "2001:db8::/64", "2001:db8::1")
    six = made(ipv4=False, ipv6=True)
    assert (six.subnet, six.gateway) == ("", "")
    assert ipaddress.ip_network(six.subnet6).subnet_of(ipaddress.ip_network("fd90::/48"))
    assert made(ipv4=False, subnet6="fd00:0:0::/64", gateway6="fd00::0:9").gateway6 == "fd00::9"
    with pytest.raises(Conflict, match="fd40::/48 is in use"):
        made(taken=("10.0.0.0/16", "fd40::/48"), subnet6="fd40:0:0:7::/64")


def test_a_free_subnet_of_ipv6_belongs_to_the_name() -> None:
    first = made(ipv6=True).subnet6
    assert made(ipv6=True).subnet6 == first
    assert first.endswith("/64")
    second = made(ipv6=True, taken=(first,)).subnet6
    assert second != first
    small = {"pool": "10.90.0.0/23", "pool6": "fd90::/64", "bridge": "tb0"}
    with pytest.raises(ResourceExhausted, match="fd90::/64") as caught:
        complete("front", NetworkDesired(ipv6=True), None, taken=("fd90::1/128",), **small)  # type: ignore[arg-type]
    assert (caught.value.field, "network.pool6" in caught.value.hint) == ("subnet6", True)


def test_the_nodes_own_prefix_is_the_same_at_all_times() -> None:
    found = ipaddress.IPv6Network(ula_prefix("a"))
    assert found == ipaddress.IPv6Network(ula_prefix("a"))
    assert found != ipaddress.IPv6Network(ula_prefix("b"))
    assert found.subnet_of(ipaddress.IPv6Network("fd00::/8"))
    assert found.prefixlen == 48


def test_families_are_kept_unless_something_is_said_of_them() -> None:
    assert made(DUAL) == DUAL
    assert made(SIX) == SIX
    assert made(FRONT, ipv6=True).subnet == FRONT.subnet
    assert made(DUAL, ipv6=False) == FRONT
    assert made(DUAL, ipv4=False) == SIX
    assert made(evolve(DUAL, gateway6="fd40::5"), subnet6="fd40::/64").gateway6 == "fd40::5"
    assert made(evolve(DUAL, gateway6="fd40::5"), subnet6="fd41::/64").gateway6 == "fd41::1"


@pytest.mark.parametrize(
    ("desired", "moves"),
    [
        ({}, False), ({"subnet6": "fd40::/64"}, False), ({"ipv6": True}, False), ({"labels": {}}, False),
        ({"subnet6": "fd41::/64"}, True), ({"ipv6": False}, True), ({"subnet": "10.1.0.0/24"}, True),
    ],
)  # fmt: skip
def test_whether_subnets_may_become_others(desired: dict[str, object], moves: bool) -> None:
    assert may_move(DUAL, NetworkDesired(**desired)) is moves  # type: ignore[arg-type]


def test_addresses_are_given_once() -> None:
    taken: set[str] = set()
    for _ in range(5):
        taken.update(filter(None, choose_addresses(FRONT, taken)))
    assert taken == {f"10.40.0.{last}" for last in range(2, 7)}
    with pytest.raises(ResourceExhausted, match="no address left"):
        choose_addresses(FRONT, taken)


def test_both_addresses_have_one_number_where_they_can() -> None:
    assert choose_addresses(DUAL, set()) == ("10.40.0.2", "fd40::2")
    assert choose_addresses(DUAL, {"10.40.0.2"}) == ("10.40.0.3", "fd40::3")
    assert choose_addresses(DUAL, {"fd40::2"}) == ("10.40.0.2", "fd40::3")
    assert choose_addresses(evolve(DUAL, gateway6="fd40::2"), set()) == ("10.40.0.2", "fd40::1")
    assert choose_addresses(SIX, {"fd40::2"}) == ("", "fd40::3")
    wide = evolve(DUAL, subnet="10.40.0.0/24", subnet6="fd40::/126")
    assert choose_addresses(wide, {f"10.40.0.{last}" for last in range(2, 9)}) == ("10.40.0.9", "fd40::2")
    with pytest.raises(ResourceExhausted, match="fd40::/126"):
        choose_addresses(wide, {"fd40::2", "fd40::3"})


def test_addresses_move_along_where_they_can_be_had() -> None:
    both = ["10.40.0.4/29", "fd40::4/64"]
    assert take_addresses(DUAL, both, set()) == ("10.40.0.4", "fd40::4")
    assert take_addresses(DUAL, both[:1], {"fd40::4"}) == ("10.40.0.4", "fd40::2")
    assert take_addresses(DUAL, both[1:], set()) == ("10.40.0.2", "fd40::4")
    assert take_addresses(SIX, both[1:], set()) == ("", "fd40::4")
    assert take_addresses(DUAL, [], set()) == ("10.40.0.2", "fd40::2")
    for network, taken, why in (
        (FRONT, set(), "without IPv6"), (SIX, set(), "without IPv4"), (DUAL, {"fd40::4"}, "another container"),
        (evolve(DUAL, gateway6="fd40::4"), set(), "gateway"), (evolve(DUAL, subnet6="fd41::/64"), set(), "fd41::"),
    ):  # fmt: skip
        with pytest.raises(Conflict, match="can't move along") as caught:
            take_addresses(network, both, taken)
        assert why in caught.value.why


def test_addresses_as_the_kernel_takes_them() -> None:
    assert [with_prefix(DUAL, text) for text in ("10.40.0.2", "fd40::2")] == ["10.40.0.2/29", "fd40::2/64"]
    assert mac_of("10.40.0.2") == "02:54:0a:28:00:02"
    macs = {mac_of(address) for address in ("fd40::2", "fd40::3", "fd41::2")}
    assert len(macs) == 3
    assert all(int(mac[:2], 16) & 3 == 2 and len(mac) == 17 for mac in macs)  # local, of one interface
