"""CNI configuration lists: run through real plugins, and through one that writes down what it is told."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.daemon import ApiError
from tricorn_testing.network_node import NetworkNode, network_node
from tricorn_testing.paths import found
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.root]
PLUGINS = Path("/usr/lib/cni")
CONFIG = '[network]\ncni_lists = "{directory}/net.d"\ncni_plugins = "{directory}/bin:/usr/lib/cni"\n'
# Writes down each call in a line of its own, and does what a file beside it says.
RECORDER = """#!/bin/sh
dir=$(dirname "$0")
input=$(cat | tr -d '\\n')
echo "$CNI_COMMAND|$CNI_CONTAINERID|$CNI_IFNAME|$input" >>"$dir/calls"
if [ "$CNI_COMMAND" = VERSION ]; then
  echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0", "1.1.0"]}'
elif [ -e "$dir/fail-$CNI_COMMAND" ]; then
  echo '{"code": 7, "msg": "no such luck", "details": "it was told so"}'
  exit 1
elif [ "$CNI_COMMAND" = ADD ]; then
  echo '{"cniVersion": "1.1.0", "ips": [{"address": "10.70.0.2/24", "gateway": "10.70.0.1"}],'
  echo '"dns": {"nameservers": ["10.70.0.53"]}}'
fi
"""


@pytest.fixture(scope="module")
def node() -> Iterator[NetworkNode]:
    with network_node(CONFIG) as made:
        (made.directory / "bin").mkdir()
        plugin = made.directory / "bin/recorder"
        plugin.write_text(RECORDER)
        plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
        lists = made.directory / "net.d"
        lists.mkdir()
        host_local = {"type": "host-local", "subnet": "10.71.0.0/24", "dataDir": f"{made.directory}/ipam"}
        real = {"type": "bridge", "bridge": "cnitest0", "isGateway": True, "ipam": host_local}
        write_list(lists, "real", "1.0.0", real)
        told = {"type": "recorder", "capabilities": {"portMappings": True}}
        write_list(lists, "told", "1.1.0", told, {"type": "recorder", "second": True})
        write_list(lists, "missing", "1.0.0", {"type": "nowhere"})
        (lists / "90-broken.conflist").write_text("{")
        yield made


def write_list(directory: Path, name: str, version: str, *plugins: dict[str, Any]) -> None:
    document = {"cniVersion": version, "name": name, "plugins": plugins}
    (directory / f"10-{name}.conflist").write_text(json.dumps(document))


@pytest.fixture
def calls(node: NetworkNode) -> Iterator[Path]:
    """Where the recorder writes; containers and what it was told to do are gone at the end."""
    path = node.directory / "bin/calls"
    path.unlink(missing_ok=True)
    yield path
    for order in (node.directory / "bin").glob("fail-*"):
        order.unlink()
    for item in node.get("/v1/default/containers")["items"]:
        with suppress(ApiError):
            node.delete(f"/v1/default/containers/{item['id']}", force=True)
    eventually(lambda: not found(node.state / "networks", "*/*"), "a network is left behind")


def made_calls(path: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Return (command, container's id, input) of each call since the last look."""
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    parts = [line.split("|", 3) for line in lines]
    return [(part[0], part[1], json.loads(part[3])) for part in parts]


@pytest.mark.skipif(not os.path.exists(PLUGINS / "bridge"), reason="containernetworking-plugins is missing")
def test_the_standard_plugins_give_an_address(node: NetworkNode, calls: Path) -> None:
    assert not calls.exists()
    node.run_container("c1", "while :; do echo hello | nc -l -p 80; done", network="cni:real")
    node.run_container("c2", network="cni:real")
    place = node.get("/v1/default/containers/c1")["attachment"]
    assert (place["addresses"], place["gateway"]) == (["10.71.0.2/24"], "10.71.0.1")
    assert node.words_of("c2", "nc 10.71.0.2 80") == "hello\n"
    assert node.ask("10.71.0.2", 80) == "hello\n"
    node.delete("/v1/default/containers/c1", force=True)
    eventually(lambda: not (node.directory / "ipam/real/10.71.0.2").exists(), "the address isn't free again")


def test_plugins_are_told_what_the_specification_says(node: NetworkNode, calls: Path) -> None:
    port = {"host": 8080, "container": 80}
    node.run_container("c1", network="cni:told", ports=[port])
    first, second = made_calls(calls)
    assert [call[0] for call in (first, second)] == ["ADD", "ADD"]
    mapping = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
    assert first[2]["runtimeConfig"] == {"portMappings": [mapping]}
    assert (first[2]["cniVersion"], first[2]["name"]) == ("1.1.0", "told")
    assert "prevResult" not in first[2]
    assert second[2]["prevResult"]["ips"][0]["address"] == "10.70.0.2/24"
    assert "nameserver 10.70.0.53" in node.words_of("c1", "cat /etc/resolv.conf")
    node.post("/v1/default/containers/c1/stop", {"timeout": 0})
    node.post("/v1/default/containers/c1/start")
    assert [call[0] for call in made_calls(calls)] == ["CHECK", "CHECK"]
    node.delete("/v1/default/containers/c1", force=True)
    eventually(lambda: calls.exists() and len(calls.read_text().splitlines()) == 2)
    last, one = made_calls(calls)
    assert [call[0] for call in (last, one)] == ["DEL", "DEL"]
    assert (last[2].get("second"), one[2].get("second")) == (True, None)  # in reverse order
    assert one[1] == first[1]
    assert one[2]["prevResult"] == second[2]["prevResult"]


def test_a_place_that_fails_its_check_is_made_anew(node: NetworkNode, calls: Path) -> None:
    node.run_container("c1", network="cni:told")
    node.post("/v1/default/containers/c1/stop", {"timeout": 0})
    made_calls(calls)
    (node.directory / "bin/fail-CHECK").touch()
    node.post("/v1/default/containers/c1/start")
    assert [call[0] for call in made_calls(calls)] == ["CHECK", "DEL", "DEL", "ADD", "ADD"]


def test_failures_are_told_and_undone(node: NetworkNode, calls: Path) -> None:
    (node.directory / "bin/fail-ADD").touch()
    with pytest.raises(ApiError) as caught:
        node.run_container("c1", network="cni:told")
    assert caught.value.problem["code"] == "FailedPrecondition"
    words = "CNI plugin recorder of network told failed at ADD: no such luck: it was told so"
    assert caught.value.problem["detail"] == words
    assert caught.value.problem["details"]["plugin"] == "recorder"
    assert [call[0] for call in made_calls(calls)] == ["ADD", "DEL", "DEL"]
    with pytest.raises(ApiError, match="CNI plugin nowhere isn't installed") as caught:
        node.run_container("c1", network="cni:missing")
    assert caught.value.problem["code"] == "Unimplemented"
    with pytest.raises(ApiError, match="none of its plugins takes portMappings"):
        node.run_container("c1", network="cni:real", ports=[{"host": 1, "container": 1}])
    with pytest.raises(ApiError, match="is a configuration list"):
        node.put("/v1/networks/cni:told", {})


def test_lists_are_shown_with_what_they_need(node: NetworkNode, calls: Path) -> None:
    assert not calls.exists()
    found = {item["name"]: item for item in node.get("/v1/networks", filter="driver==cni")["items"]}
    assert set(found) == {"cni:real", "cni:told", "cni:missing"}
    assert not found["cni:missing"]["up"]
    assert "isn't installed" in found["cni:missing"]["plugins"][0]["reason"]
    one = node.get("/v1/networks/cni:told")
    assert (one["cni_version"], one["file"]) == ("1.1.0", f"{node.directory}/net.d/10-told.conflist")
    assert one["plugins"][0]["versions"] == ["1.0.0", "1.1.0"]
    assert one["plugins"][0]["capabilities"] == ["portMappings"]


def test_the_next_agent_undoes_what_a_killed_one_began(node: NetworkNode, calls: Path) -> None:
    node.run_container("kept", network="cni:told")
    node.kill()
    with suppress(OSError, RuntimeError):
        node.start(TRICORN_FAILPOINTS="network.added=kill")
        node.run_container("lost", network="cni:told")
    assert node.wait_exit(60) == -9
    made_calls(calls)
    node.start()
    found = made_calls(calls)
    assert [call[0] for call in found] == ["DEL", "DEL", "GC", "GC"]
    valid = found[2][2]["cni.dev/valid-attachments"]
    assert [each["containerID"].partition(".")[0] for each in valid] == ["kept"]
    assert "prevResult" not in found[0][2]
