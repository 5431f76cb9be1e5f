"""Networks of real containers: bridges, published ports, addresses that are kept, and what crashes leave."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.daemon import ApiError
from tricorn_testing.network_node import NODE, WORLD, NetworkNode, greeter, network_node
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.root]
SERVE = "while :; do echo {} | nc -l -p 80; done"
LOST = (OSError, http.client.HTTPException)


@pytest.fixture(scope="module")
def node() -> Iterator[NetworkNode]:
    """A node with two networks."""
    with network_node() as made:
        made.put("/v1/networks/front", {"subnet": "10.40.0.0/24", "mtu": 1400, "dns": ["192.0.2.53"]})
        made.put("/v1/networks/back", {"namespaces": ["default", "ci-*"]})
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


def test_containers_reach_each_other_the_node_and_the_world(
    node: NetworkNode, containers: Callable[..., dict[str, Any]]
) -> None:
    ports = [{"host": 8080, "container": 80}, {"host": 81, "container": 80, "address": NODE}]
    containers("web", SERVE.format("hello"), network="front", ports=ports, hostname="site")
    containers("other", network="front")
    containers("apart", network="back")
    at = place(node, "web")
    assert (at["addresses"], at["gateway"], at["network"]) == (["10.40.0.2/24"], "10.40.0.1", "front")
    for address, port in (("127.0.0.1", 8080), (NODE, 8080), (NODE, 81), ("10.40.0.2", 80)):
        assert node.ask(address, port) == "hello\n", (address, port)
    assert node.ask(NODE, 8080, netns=node.world) == "hello\n"
    assert node.words_of("other", "nc 10.40.0.2 80") == "hello\n"
    assert node.words_of("other", f"nc {NODE} 8080") == "hello\n"  # by way of the node
    assert node.words_of("apart", "nc -w 1 10.40.0.2 80 || echo refused") == "refused\n"
    assert node.words_of("apart", f"nc {NODE} 8080") == "hello\n"  # what is published is for all
    with greeter(node.world, WORLD, 9000):
        assert node.words_of("other", f"nc {WORLD} 9000") == f"{NODE}\n"  # under the node's address
    files = node.words_of("web", "cat /etc/hosts /etc/resolv.conf /etc/hostname; cat /sys/class/net/eth0/mtu")
    assert "10.40.0.2\tsite web\n" in files
    assert files.endswith("nameserver 192.0.2.53\nsite\n1400\n")


def test_networks_outlive_the_agent_and_its_rules_come_back(
    node: NetworkNode, containers: Callable[..., dict[str, Any]]
) -> None:
    containers("web", SERVE.format("hello"), network="front", ports=[{"host": 8080, "container": 80}])
    node.kill()
    assert node.ask(NODE, 8080) == "hello\n"
    node.run("nft", "flush", "ruleset")
    node.start()
    assert "8080" in node.rules()
    assert node.ask("127.0.0.1", 8080) == "hello\n"
    assert "pyroute2" not in Path(f"/proc/{node.pid}/maps").read_text()


def test_an_address_is_kept_until_the_container_is_removed(
    node: NetworkNode, containers: Callable[..., dict[str, Any]]
) -> None:
    containers("web", network="front")
    containers("next", network="front", ports=[{"host": 8080, "container": 80}])
    before = place(node, "next")
    node.post("/v1/default/containers/next/stop", {"timeout": 0})
    # as after a reboot: neither namespace nor interfaces nor files are there
    node.run("ip", "link", "del", before["host_interface"])
    node.run("umount", before["netns"])
    Path(before["netns"]).unlink()
    node.post("/v1/default/containers/next/start")
    assert place(node, "next") == before
    assert "10.40.0.3/24" in node.words_of("next", "ip addr")
    with pytest.raises(ApiError, match="container next of namespace default has it") as caught:
        containers("late", network="front", ports=[{"host": 8080, "container": 80}])
    assert (caught.value.status, caught.value.problem["code"]) == (409, "Conflict")
    node.delete("/v1/default/containers/next", force=True)
    containers("late", network="front", ports=[{"host": 8080, "container": 80}])  # at once


def test_namespaces_are_joined(node: NetworkNode, containers: Callable[..., dict[str, Any]]) -> None:
    containers("web", SERVE.format("hello"), network="front")
    containers("beside", network="container:web")
    containers("path", network=f"path:{place(node, 'web')['netns']}")
    containers("alone", network="none")
    containers("with-alone", network="container:alone")
    assert node.words_of("beside", "nc 127.0.0.1 80; tail -n 1 /etc/hosts") == "hello\n10.40.0.2\tweb\n"
    assert node.words_of("path", "nc 127.0.0.1 80") == "hello\n"
    same = [node.words_of(name, "readlink /proc/self/ns/net") for name in ("alone", "with-alone")]
    assert same[0] == same[1]
    node.post("/v1/default/containers/alone/stop", {"timeout": 0})
    with pytest.raises(ApiError, match="it isn't running"):
        containers("late", network="container:alone")


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ({"network": "nope"}, "NotFound", "network nope does not exist"),
        ({"network": "container:nope"}, "NotFound", "container nope"),
        ({"network": "cni:nope"}, "NotFound", "no CNI network nope"),
        (
            {"network": "none", "ports": [{"host": 1, "container": 1}]},
            "InvalidArgument",
            "can't be published",
        ),
    ],
)
def test_what_cannot_be_joined_is_refused(
    node: NetworkNode, more: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        node.run_container("refused", **more)
    assert caught.value.problem["code"] == code
    with pytest.raises(ApiError, match="isn't for namespace other"):
        node.put("/v1/other/archive/import", {"path": str(node.directory / "busybox.tar")})
        body = {"image": "docker.io/library/busybox:1", "network": "back", "pull": "never"}
        node.put("/v1/other/containers/refused", body)


def test_a_network_is_a_desired_state(node: NetworkNode, containers: Callable[..., dict[str, Any]]) -> None:
    wanted = {"subnet": "10.50.0.0/24", "labels": {"team": "web"}}
    assert node.put("/v1/networks/spare", wanted, plan=True)["changed"]
    with pytest.raises(ApiError, match="does not exist"):
        node.get("/v1/networks/spare")
    assert [node.put("/v1/networks/spare", wanted)["changed"] for _ in range(2)] == [True, False]
    found = node.get("/v1/networks", filter="labels.team==web")["items"]
    assert [(item["name"], item["driver"], item["up"]) for item in found] == [("spare", "bridge", True)]
    with pytest.raises(ApiError, match="is taken"):
        node.put("/v1/networks/second", {"subnet": "10.50.0.128/25"})
    with pytest.raises(ApiError, match="is taken"):  # the node's own way to the world
        node.put("/v1/networks/second", {"subnet": "198.51.100.0/25"})
    containers("user", network="spare")
    for body in ({"state": "absent"}, {"subnet": "10.51.0.0/24"}, {"mtu": 1300}):
        with pytest.raises(ApiError, match="default/user") as caught:
            node.put("/v1/networks/spare", body)
        assert caught.value.status == 412
    node.delete("/v1/default/containers/user", force=True)
    changed = node.put("/v1/networks/spare", {"subnet": "10.51.0.0/24"})
    assert changed["after"]["gateway"] == "10.51.0.1"
    bridge = node.get("/v1/networks/spare")["bridge"]
    assert "10.51.0.1/24" in node.run("ip", "addr", "show", bridge)
    assert node.put("/v1/networks/spare", {"state": "absent"})["changed"]
    assert bridge not in node.links()
    assert not node.put("/v1/networks/spare", {"state": "absent"})["changed"]


def test_the_command_line(node: NetworkNode, containers: Callable[..., dict[str, Any]]) -> None:
    made = node.cli("network", "create", "shell", "--subnet", "10.60.0.0/24", "--for", "default")
    assert (made.returncode, made.stdout) == (0, "shell\n"), made.stderr
    options = ["-d", "--name", "c", "--pull", "never", "--network", "shell", "-p", "127.0.0.1:70:80/udp"]
    run = node.cli("run", *options, "docker.io/library/busybox:1", "sleep", "1000")
    assert run.returncode == 0, run.stderr
    port = {"host": 70, "container": 80, "protocol": "udp", "address": "127.0.0.1"}
    assert place(node, "c")["ports"] == [port]
    assert "10.60.0.0/24" in node.cli("network", "ls").stdout
    assert '"10.60.0.2/24"' in node.cli("network", "inspect", "shell").stdout
    refused = node.cli("network", "rm", "shell")
    assert (refused.returncode, "default/c" in refused.stderr) == (8, True), refused.stderr
    node.delete("/v1/default/containers/c", force=True)
    assert node.cli("network", "rm", "shell").returncode == 0


def test_nothing_is_left_by_an_agent_that_is_killed_at_any_moment(node: NetworkNode) -> None:
    """Each start recovers from the death before, armed for the next one."""
    for step in ("rules", "plugged", "removed"):  # the last one while it recovers from the one before
        node.kill()
        with suppress(*LOST, RuntimeError):
            node.start(TRICORN_FAILPOINTS=f"network.{step}=kill")
            node.run_container("c1", network="front", ports=[{"host": 8080, "container": 80}])
            node.delete("/v1/default/containers/c1", force=True)
        if node.process is not None:
            assert node.wait_exit(60) == -9, step
    node.start()
    assert node.is_clear()
    node.run_container("c1", network="front", ports=[{"host": 8080, "container": 80}])
    assert place(node, "c1")["addresses"] == ["10.40.0.2/24"]
    node.delete("/v1/default/containers/c1", force=True)
    eventually(node.is_clear)
