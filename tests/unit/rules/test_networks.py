"""Networks: what a container may ask for, subnets and addresses, names of interfaces."""

from __future__ import annotations

import pytest
from attrs import evolve

from tricorn.errors import (
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
)
from tricorn.model.networks import Network, NetworkDesired, NetworkKind, Port
from tricorn.rules import networks
from tricorn.rules.networks import check_container, complete, parse_network

FRONT = Network("front", "10.40.0.0/29", "10.40.0.1", "tb0")


def made(current: Network | None = None, taken: tuple[str, ...] = (), **desired: object) -> Network:
    wanted = NetworkDesired(**desired)  # type: ignore[arg-type]
    return complete("front", wanted, current, pool="10.90.0.0/23", taken=taken, bridge="tb0")


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
        ("front", [Port(80, 8080), Port(81, 8080, "tcp", NODE)], "ports[1]"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            check_container(network, ports)
        assert caught.value.field == field


NODE = "192.0.2.1"


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


def test_nothing_changes_under_containers() -> None:
    networks.must_stay(FRONT, evolve(FRONT, labels={"a": "b"}, masquerade=False), ["default/a"])
    networks.must_stay(FRONT, evolve(FRONT, mtu=1400), [])
    with pytest.raises(FailedPrecondition, match="default/a"):
        networks.must_stay(FRONT, evolve(FRONT, mtu=1400), ["default/a"])


def test_networks_are_for_namespaces() -> None:
    networks.admit(FRONT, "default")
    networks.admit(evolve(FRONT, namespaces=("ci-*",)), "ci-7")
    with pytest.raises(PermissionDenied, match="ci-"):
        networks.admit(evolve(FRONT, namespaces=("ci-*",)), "default")


def test_addresses_are_given_once() -> None:
    taken: set[str] = set()
    for _ in range(5):
        taken.add(networks.choose_address(FRONT, taken))
    assert taken == {f"10.40.0.{last}" for last in range(2, 7)}
    with pytest.raises(ResourceExhausted, match="no address left"):
        networks.choose_address(FRONT, taken)


def test_names_fit_the_kernel_and_tell_agents_apart() -> None:
    tags = {networks.agent_tag(root) for root in ("/var/lib/tricorn", "/tmp/a", "/tmp/b")}
    assert len(tags) == 3
    names = {networks.veth_name(tag, "default", "x" * 76) for tag in tags}
    names |= {networks.bridge_name(tag, "front") for tag in tags}
    assert len(names) == 6
    assert all(len(name) <= 15 for name in names)
    assert networks.cni_id("a", "b") != networks.cni_id("c", "b")
    assert networks.mac_of("10.40.0.2") == "02:54:0a:28:00:02"
