"""IPv6 of real containers in bridge networks: addresses, ports at both families, what the node is told of it."""

from __future__ import annotations

import http.client
import ipaddress
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.daemon import ApiError
from tricorn_testing.network_node import NODE, NODE6, WORLD6, NetworkNode, greeter, network_node
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.root]
SERVE = "while :; do echo {} | nc -l -p 80; done"
BRIDGED = "bridge/bridge-nf-call-ip6tables"
WEB, WEB6 = "10.40.0.2", "fd40::2"


@pytest.fixture(scope="module")
def node() -> Iterator[NetworkNode]:
    """A node with networks of both families, and of either."""
    with network_node('[network]\npool6 = "fd90::/48"\n') as made:
        made.setting(BRIDGED, "0")
        made.put("/v1/networks/dual", {"subnet": "10.40.0.0/24", "subnet6": "fd40::/64"})
        made.put("/v1/networks/six", {"ipv4": False, "ipv6": True})
        made.put("/v1/networks/four", {})
        yield made


@pytest.fixture
def containers(node: NetworkNode) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs containers, which are gone at the end with all that their networks were made of."""
    yield node.run_container
    for item in node.get("/v1/default/containers")["items"]:
        node.delete(f"/v1/default/containers/{item['id']}", force=True)
    eventually(node.is_clear, "networks of containers that are gone stay")


def place(node: NetworkNode, name: str) -> dict[str, Any]:
    found: dict[str, Any] = node.get(f"/v1/default/containers/{name}")["attachment"]
    return found


def test_containers_have_an_address_of_each_family_and_ports_at_both(
    node: NetworkNode, containers: Callable[..., dict[str, Any]]
) -> None:
    ports = [{"host": 8080, "container": 80}, {"host": 81, "container": 80, "address": NODE6}]
    ports += [
        {"host": 82, "container": 80, "address": "::"},
        {"host": 83, "container": 80, "address": "0.0.0.0"},
    ]
    containers("web", SERVE.format("hello"), network="dual", ports=ports)
    containers("other", network="dual")
    containers("apart", network="six")
    at = place(node, "web")
    assert at["addresses"] == [f"{WEB}/24", f"{WEB6}/64"]
    assert (at["gateway"], at["gateway6"]) == ("10.40.0.1", "fd40::1")
    assert place(node, "other")["addresses"] == ["10.40.0.3/24", "fd40::3/64"]
    for address, port in (
        (WEB6, 80), (WEB, 80), ("::1", 8080), ("127.0.0.1", 8080), (NODE6, 8080), (NODE, 8080),
        ("fd40::1", 8080), (NODE6, 81), ("::1", 82), (NODE, 83),
    ):  # fmt: skip
        assert node.ask(address, port) == "hello\n", (address, port)
    assert node.ask(NODE6, 8080, netns=node.world) == "hello\n"
    assert "1 packets received" in node.words_of("other", f"ping -6 -c 1 -W 20 {WEB6}")
    assert node.words_of("other", f"nc {WEB6} 80") == "hello\n"
    assert node.words_of("other", f"nc {NODE6} 8080") == "hello\n"  # by way of the node
    assert node.words_of("apart", f"nc {NODE6} 8080") == "hello\n"
    assert node.words_of("apart", f"nc -w 1 {WEB6} 80 || echo refused") == "refused\n"
    for address, port in ((NODE, 81), (NODE, 82), (NODE6, 83)):
        assert node.words_of("other", f"nc -w 2 {address} {port} || echo refused") == "refused\n", (
            address,
            port,
        )
    with greeter(node.world, WORLD6, 9000):
        for name in ("other", "apart"):
            assert node.words_of(name, f"nc {WORLD6} 9000") == f"{NODE6}\n"  # under the node's address
    assert f"{WEB}\tweb\n{WEB6}\tweb\n" in node.words_of("web", "cat /etc/hosts")


def test_addresses_are_usable_at_once_and_routers_are_believed_where_they_were(
    node: NetworkNode, containers: Callable[..., dict[str, Any]]
) -> None:
    conf = "/proc/sys/net/ipv6/conf/eth0"
    first = f"ip -6 addr show eth0; ip -6 route; cat {conf}/accept_ra {conf}/disable_ipv6"
    containers("six", f"({first}) > /first; exec sleep 1000", network="six")
    containers("four", network="four")
    (address,) = place(node, "six")["addresses"]
    assert ipaddress.ip_interface(address) in ipaddress.ip_network("fd90::/48")
    eventually(lambda: node.words_of("six", "tail -n 2 /first") == "0\n0\n")
    seen = node.words_of("six", "cat /first")
    assert address in seen
    assert "tentative" not in seen
    assert f"default via {place(node, 'six')['gateway6']} dev eth0" in seen
    assert node.words_of("six", "ip -4 addr show eth0") == ""
    assert "inet6" not in node.words_of("four", "ip addr show eth0")
    assert node.setting("ipv6/conf/all/forwarding") == "1"
    assert node.setting("ipv6/conf/uplink/accept_ra") == "2"
    bridges = {name: node.get(f"/v1/networks/{name}")["bridge"] for name in ("six", "four")}
    assert [node.setting(f"ipv6/conf/{bridge}/accept_ra") for bridge in bridges.values()] == ["0", "0"]
    assert [node.setting(f"ipv6/conf/{bridge}/disable_ipv6") for bridge in bridges.values()] == ["0", "1"]


def test_ports_of_a_family_that_the_network_lacks_are_refused(node: NetworkNode) -> None:
    for network, address in (("four", "::1"), ("six", NODE)):
        with pytest.raises(ApiError, match="can't be published") as caught:
            node.run_container(
                "lost", network=network, ports=[{"host": 1, "container": 1, "address": address}]
            )
        assert caught.value.status == 412


def test_both_addresses_outlive_the_agent_a_reboot_and_a_death_right_after(
    node: NetworkNode, containers: Callable[..., dict[str, Any]]
) -> None:
    containers("first", network="dual")
    containers("web", SERVE.format("hello"), network="dual", ports=[{"host": 8080, "container": 80}])
    before = place(node, "web")
    assert before["addresses"] == ["10.40.0.3/24", "fd40::3/64"]
    node.delete("/v1/default/containers/first", force=True)
    node.kill()
    assert node.ask(NODE6, 8080) == "hello\n"
    node.run("nft", "flush", "ruleset")
    node.start(TRICORN_FAILPOINTS="network.plugged=kill")
    assert node.ask("::1", 8080) == "hello\n"
    node.post("/v1/default/containers/web/stop", {"timeout": 0})
    # as after a reboot: neither namespace nor interfaces nor files are there
    node.run("ip", "link", "del", before["host_interface"])
    node.run("ip", "link", "del", node.get("/v1/networks/dual")["bridge"])
    node.run("umount", before["netns"])
    Path(before["netns"]).unlink()
    with suppress(OSError, http.client.HTTPException):
        node.post("/v1/default/containers/web/start")
    assert node.wait_exit(60) == -9
    node.start()
    node.post("/v1/default/containers/web/start")
    assert place(node, "web") == before
    assert node.ask("::1", 8080) == node.ask("fd40::3", 80) == "hello\n"


def test_ipv6_is_a_desired_state(node: NetworkNode, containers: Callable[..., dict[str, Any]]) -> None:
    wanted = {"subnet": "10.50.0.0/24"}
    node.put("/v1/networks/spare", wanted)
    planned = node.put("/v1/networks/spare", {**wanted, "ipv6": True}, plan=True)
    assert (planned["changed"], planned["before"]["subnet6"]) == (True, "")
    changes = [node.put("/v1/networks/spare", {"ipv6": True}) for _ in range(2)]
    assert [change["changed"] for change in changes] == [True, False]
    assert changes[0]["after"] == planned["after"]  # the subnet belongs to the name
    bridge = node.get("/v1/networks/spare")["bridge"]
    assert changes[0]["after"]["gateway6"] in node.run("ip", "-6", "addr", "show", bridge)
    for body, words in (
        ({"subnet6": "fd40:0:0:0:1::/80"}, "fd40::/64 is in use"), ({"subnet6": "fd40::1/64"}, "malformed"),
        ({"subnet6": "2001:db8:51::/64"}, "is in use"),  # the node's own way to the world
        ({"subnet6": "fe80::/64"}, "can't be used"), ({"ipv6": True, "mtu": 1200}, "1280"),
    ):  # fmt: skip
        with pytest.raises(ApiError, match=words):
            node.put("/v1/networks/second", body)
    containers("user", network="spare")
    for body in ({"subnet6": "fd51::/64"}, {"ipv6": False}, {"ipv4": False}):
        with pytest.raises(ApiError, match="default/user") as caught:
            node.put("/v1/networks/spare", body)
        assert caught.value.status == 412
    assert not node.put("/v1/networks/spare", {})["changed"]
    node.delete("/v1/default/containers/user", force=True)
    assert node.put("/v1/networks/spare", {"ipv6": False})["after"]["subnet6"] == ""
    assert "inet6" not in node.run("ip", "addr", "show", bridge)
    assert node.put("/v1/networks/spare", {"state": "absent"})["changed"]


def test_the_command_line(node: NetworkNode, containers: Callable[..., dict[str, Any]]) -> None:
    bridged = node.setting(BRIDGED, "1") == "1"
    subnets = ["--subnet", "10.60.0.0/24", "--subnet", "fd60::/64", "--gateway", "fd60::9"]
    made = node.cli("network", "create", "shell", *subnets)
    node.setting(BRIDGED, "0")
    assert (made.returncode, made.stdout) == (0, "shell\n"), made.stderr
    assert ("at ::1" in made.stderr) == bridged
    options = ["-d", "--name", "c", "--pull", "never", "--network", "shell", "-p", "[::1]:70:80/udp"]
    run = node.cli("run", *options, "docker.io/library/busybox:1", "sleep", "1000")
    assert run.returncode == 0, run.stderr
    port = {"host": 70, "container": 80, "protocol": "udp", "address": "::1"}
    assert place(node, "c")["ports"] == [port]
    assert "10.60.0.0/24, fd60::/64" in node.cli("network", "ls").stdout
    shown = node.cli("network", "inspect", "shell").stdout
    assert '"fd60::2/64"' in shown
    assert '"gateway6": "fd60::9"' in shown
    twice = node.cli("network", "create", "more", "--subnet", "fd61::/64", "--subnet", "fd62::/64")
    assert (twice.returncode, "one subnet of IPv6" in twice.stderr) == (2, True), twice.stderr
    node.delete("/v1/default/containers/c", force=True)
    assert node.cli("network", "rm", "shell").returncode == 0
