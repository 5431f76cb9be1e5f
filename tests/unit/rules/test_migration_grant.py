"""What a node takes from whom, and which nodes fit each other."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from tricorn.errors import FailedPrecondition, PermissionDenied
from tricorn.model.ids import Digest
from tricorn.model.migrations import NodeFacts, Offer
from tricorn.model.networks import Port
from tricorn.model.oci import OCI_MANIFEST, Descriptor
from tricorn.model.requests import ContainerDesired, Mount
from tricorn.rules.migration_grant import MigrationRule, check_nodes, check_offer, knows
from tricorn.rules.peers import Identity

PEER = Identity(frozenset({"dns:node-1.example"}))
FACTS = NodeFacts("linux/amd64", "6.12.9-1-amd64", "4.1.1", "unified", ("avx", "fpu"))
RULE = MigrationRule(("node-*.example",), mounts=("/srv/*",))


def offer(namespace: str = "default", *, keep_image: bool = False, **wanted: Any) -> Offer:
    target = Descriptor(OCI_MANIFEST, Digest.of(b"image"), 5)
    container = ContainerDesired("app:1", **wanted)
    return Offer("0" * 16, namespace, "web", container, target, (target,), FACTS, 0, keep_image)


def test_what_reaches_no_further_than_a_container_is_taken() -> None:
    mounts = (Mount("/tmp", type="tmpfs"), Mount("/www", "/srv/www"))
    check_offer([RULE], PEER, offer(mounts=mounts, labels={"tier": "web"}, cap_drop=("ALL",)))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"privileged": True}, "privileged"),
        ({"cap_add": ("NET_ADMIN",)}, "capabilities"),
        ({"devices": ("/dev/sda",)}, "devices"),
        ({"seccomp": "unconfined"}, "seccomp"),
        ({"no_new_privileges": False}, "gain"),
        ({"network": "host"}, "network host"),
        ({"network": "/run/netns/x"}, "/run/netns/x"),
        ({"namespaces": {"pid": "host"}}, "pid namespace host"),
        ({"sysctls": {"net.ipv4.ip_forward": "1"}}, "sysctls"),
        ({"annotations": {"run.oci.handler": "x"}}, "annotations"),
        ({"mounts": (Mount("/www", "/etc"),)}, "/etc"),
        ({"mounts": (Mount("/www", "/srv/../etc"),)}, "/srv/../etc"),
        ({"mounts": (Mount("/x", "/dev/sda1", "ext4"),)}, "/dev/sda1"),
        ({"ports": (Port(80, 8080),)}, "published ports"),
        ({"keep_image": True}, "name for its image"),
    ],
)
def test_what_reaches_further_takes_a_word_in_the_configuration(wanted: dict[str, Any], words: str) -> None:
    with pytest.raises(PermissionDenied) as caught:
        check_offer([RULE], PEER, offer(**wanted))
    assert words in caught.value.why
    check_offer([evolve(RULE, privileges=True, images=True)], PEER, offer(**wanted))


def test_who_no_rule_names_brings_nothing_and_nowhere_else() -> None:
    other = Identity(frozenset({"dns:stranger.example", "cn:node-1.example"}))
    assert not knows([RULE], other)
    assert knows([RULE], PEER)
    for peer, wanted in ((other, offer()), (PEER, offer("kube-system"))):
        with pytest.raises(PermissionDenied):
            check_offer([RULE], peer, wanted)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"machine": "linux/arm64"}, "linux/arm64"),
        ({"kernel": "6.1.0-30-amd64"}, "older"),
        ({"criu": ""}, "(none)"),
        ({"cgroup": "v1"}, "control groups"),
        ({"cpu_flags": ("fpu",)}, "avx"),
    ],
)
def test_a_node_that_does_not_fit_is_named_with_the_reason(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        check_nodes(FACTS, evolve(FACTS, **changes))
    assert words in caught.value.why


def test_newer_and_more_able_nodes_fit() -> None:
    check_nodes(FACTS, evolve(FACTS, kernel="6.13.1", criu="4.2", cpu_flags=("avx", "avx512", "fpu")))


def test_networks_that_the_node_gives_take_a_pattern() -> None:
    rule = evolve(RULE, networks=("front", "cni:*"), ports=True)
    for network in ("front", "cni:pods"):
        check_offer([rule], PEER, offer(network=network, ports=(Port(80, 8080),)))
    with pytest.raises(PermissionDenied):
        check_offer([rule], PEER, offer(network="back"))
    for network in ("host", "/run/netns/front", "container:front"):
        with pytest.raises(PermissionDenied):
            check_offer([evolve(rule, networks=("*",))], PEER, offer(network=network))


def test_ids_of_the_node_take_a_range() -> None:
    wanted = {"uid_map": ("0:100000:65536",), "gid_map": ("0:200000:65536",)}
    check_offer([evolve(RULE, ids=("100000:65536", "200000:70000"))], PEER, offer(**wanted))
    check_offer([evolve(RULE, privileges=True)], PEER, offer(**wanted))
    for ids in ((), ("100000:65536",), ("100000:65535", "200000:65536"), ("100001:65536", "200000:65536")):
        with pytest.raises(PermissionDenied) as caught:
            check_offer([evolve(RULE, ids=ids)], PEER, offer(**wanted))
        assert "ids" in caught.value.why
