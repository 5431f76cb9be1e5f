"""Networks: what a container may ask for, who may join, names of interfaces."""

from __future__ import annotations

import pytest
from attrs import evolve

from tricorn.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from tricorn.model.networks import Network, NetworkKind, Port
from tricorn.rules import networks
from tricorn.rules.networks import check_container, meet, parse_network, port_text

FRONT = Network("front", "10.40.0.0/29", "10.40.0.1", "tb0")


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("", NetworkKind.PRIVATE, ""),
        ("none", NetworkKind.PRIVATE, ""),
        ("host", NetworkKind.HOST, ""),
        ("/proc/1/ns/net", NetworkKind.PATH, "/proc/1/ns/net"),
        ("path:/run/netns/a", NetworkKind.PATH, "/run/netns/a"),
        ("container:web-1", NetworkKind.CONTAINER, "web-1"),
        ("cni:podnet", NetworkKind.CNI, "podnet"),
        ("front", NetworkKind.BRIDGE, "front"),
    ],
)
def test_what_a_network_means(text: str, kind: NetworkKind, name: str) -> None:
    choice = parse_network(text)
    assert (choice.kind, choice.name) == (kind, name)
    assert choice.managed == (kind in {NetworkKind.BRIDGE, NetworkKind.CNI})


@pytest.mark.parametrize("text", ["path:relative", "/a\nb", "container:", "cni:../x", "nope:x", "a/b", "a b"])
def test_malformed_networks_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_network(text)
    assert caught.value.field == "network"


def test_ports_need_a_network_and_places_of_their_own() -> None:
    check_container(
        "front", [Port(80, 8080), Port(80, 8080, "udp"), Port(80, 81), Port(443, 443, "tcp", NODE)]
    )
    for network, ports, field in (
        ("host", [Port(80, 8080)], "ports"),
        ("private", [Port(80, 8080)], "ports"),
        ("front", [Port(80, 0)], "ports[0].host"),
        ("front", [Port(65536, 1)], "ports[0].container"),
        ("front", [Port(80, 80, "tcp", "localhost")], "ports[0].address"),
        ("front", [Port(80, 80, "tcp", "fe80::1%eth0")], "ports[0].address"),
        ("front", [Port(80, 80, "tcp", "::ffff:192.0.2.1")], "ports[0].address"),
        ("front", [Port(80, 80, "tcp", "::1"), Port(80, 80, "tcp", "0:0::1")], "ports[1]"),
        ("front", [Port(80, 8080), Port(81, 8080, "tcp", NODE)], "ports[1]"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            check_container(network, ports)
        assert caught.value.field == field


NODE = "192.0.2.1"


@pytest.mark.parametrize(
    ("one", "other", "met"),
    [
        ("", "::1", True),
        ("", "0.0.0.0", True),
        ("0.0.0.0", NODE, True),
        ("0.0.0.0", "::", False),
        ("0.0.0.0", "::1", False),
        ("::", "2001:db8::1", True),
        ("::1", "2001:db8::1", False),
        ("2001:db8::1", "2001:DB8:0::1", True),
    ],
)
def test_ports_meet_at_addresses_of_one_family(one: str, other: str, met: bool) -> None:
    ports = [Port(80, 80, "tcp", address) for address in (one, other)]
    assert meet(*ports) == meet(*reversed(ports)) == met


def test_ports_are_written_as_they_are_given() -> None:
    assert port_text(Port(80, 8080, "tcp", "::1")) == "[::1]:8080:80/tcp"
    assert port_text(Port(80, 8080, "udp", NODE)) == "192.0.2.1:8080:80/udp"
    assert port_text(Port(80, 8080)) == "8080:80/tcp"


def test_ports_need_addresses_of_their_family() -> None:
    six = evolve(FRONT, subnet="", gateway="", subnet6="fd00::/64", gateway6="fd00::1")
    networks.admit(FRONT, "default", [Port(80, 80), Port(80, 80, "tcp", NODE)])
    networks.admit(six, "default", [Port(80, 80), Port(80, 80, "tcp", "::1")])
    for network, address, family in ((FRONT, "::1", 6), (six, "0.0.0.0", 4)):
        with pytest.raises(FailedPrecondition, match=f"has no IPv{family} addresses") as caught:
            networks.admit(network, "default", [Port(80, 80, "tcp", address)])
        assert f"--ipv{family}" in caught.value.hint


def test_nothing_changes_under_containers() -> None:
    networks.must_stay(FRONT, evolve(FRONT, labels={"a": "b"}, masquerade=False), ["default/a"])
    networks.must_stay(FRONT, evolve(FRONT, mtu=1400), [])
    for change in ({"mtu": 1400}, {"subnet6": "fd00::/64", "gateway6": "fd00::1"}):
        with pytest.raises(FailedPrecondition, match="default/a"):
            networks.must_stay(FRONT, evolve(FRONT, **change), ["default/a"])


def test_networks_are_for_namespaces() -> None:
    networks.admit(FRONT, "default")
    networks.admit(evolve(FRONT, namespaces=("ci-*",)), "ci-7")
    with pytest.raises(PermissionDenied, match="ci-"):
        networks.admit(evolve(FRONT, namespaces=("ci-*",)), "default")


def test_names_fit_the_kernel_and_tell_agents_apart() -> None:
    tags = {networks.agent_tag(root) for root in ("/var/lib/tricorn", "/tmp/a", "/tmp/b")}
    assert len(tags) == 3
    names = {networks.veth_name(tag, "default", "x" * 76) for tag in tags}
    names |= {networks.bridge_name(tag, "front") for tag in tags}
    assert len(names) == 6
    assert all(len(name) <= 15 for name in names)
    assert networks.cni_id("a", "b") != networks.cni_id("c", "b")
