"""The modules of networks, on a node with a network namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn_testing.ansible_plays import Ansible, task
from tricorn_testing.network_node import NetworkNode, network_node

pytestmark = [pytest.mark.root, pytest.mark.integration]
CHECK = {"keywords": {"check_mode": True, "diff": True}}


@pytest.fixture(scope="module")
def node() -> Iterator[NetworkNode]:
    with network_node() as made:
        yield made


def test_networks_once_and_again(node: NetworkNode, tmp_path: Path) -> None:
    """The examples of the documentation, then one network: made, changed, told of, removed, each time twice."""
    ansible = Ansible(tmp_path)
    ansible.play_examples(node.socket_path, "network", "network_info")
    assert [each["name"] for each in node.get("/v1/networks")["items"]] == ["front"]

    front = {"name": "front", "subnet": "10.40.0.0/24", "mtu": 1400}
    named = {**front, "labels": {"tier": "edge"}, "dns": ["192.0.2.53"], "subnet6": "fd40::/64"}
    steps = [
        task("network", **front), task("network", **named, **CHECK), task("network", **named),
        task("network", **named), task("network", **named, **CHECK),
        task("network_info", name=["front", "none"]), task("network_info", filters=["driver==bridge"]),
        task("network", name="other", subnet="10.40.0.0/25"),
        task("network", name="front", state="absent", **CHECK), task("network", name="front", state="absent"),
        task("network", name="front", state="absent"),
    ]  # fmt: skip
    played = ansible.play(node.socket_path, *steps, way="relay")
    assert [result["failed"] for result in played.results] == [False] * 7 + [True] + [False] * 3
    assert played.changed[:7] == [False, True, True, False, False, False, False]
    assert played.changed[8:] == [True, True, False]
    planned, found, filtered, refused = (played.results[number] for number in (1, 5, 6, 7))
    assert planned["diff"]["before"]["labels"] == {}
    assert planned["network"]["labels"] == {"tier": "edge"}
    assert [planned["diff"][side]["subnet6"] for side in ("before", "after")] == ["", "fd40::/64"]
    assert found["exists"] is False
    assert found["networks"][0]["dns"] == ["192.0.2.53"]
    assert [each["name"] for each in filtered["networks"]] == ["front"]
    assert "10.40.0.0/25 is taken" in refused["msg"]
    assert node.get("/v1/networks")["items"] == []
    assert node.links() == set()
