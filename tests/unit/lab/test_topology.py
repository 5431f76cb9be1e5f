"""The topology file: parsed into addresses, refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lab.bridge import collision
from lab.topology import LabError, Topology, parse, read

PROJECT = Path(__file__).parents[3]
DOCUMENT = {"name": "lab", "subnet": "10.1.2.0/24", "count": 2}


def parsed(**changes: Any) -> Topology:
    return parse({**DOCUMENT, **changes}, Path("/etc/lab"))


def test_the_shipped_file_is_a_topology() -> None:
    topology = read(PROJECT / "inventory/lab.yml")
    assert topology.state == PROJECT / ".lab/lab"
    assert [node.name for node in topology.nodes] == ["registry", "n1", "n2", "n3"]


def test_nodes_have_their_addresses_by_number() -> None:
    topology = parsed(state="there")
    assert topology.gateway == "10.1.2.1/24"
    assert {node.name: node.address for node in topology.nodes} == {
        "registry": "10.1.2.2", "n1": "10.1.2.11", "n2": "10.1.2.12",
    }  # fmt: skip
    assert topology.state == Path("/etc/lab/there")
    assert [node.registry for node in topology.nodes] == [True, False, False]


def test_a_lab_may_do_without_a_registry() -> None:
    assert [node.name for node in parsed(registry=False).nodes] == ["n1", "n2"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Lab"}, "name"),
        ({"name": "alabwhosenameistoolong"}, "name"),
        ({"name": "../x"}, "name"),
        ({"subnet": "10.1.2.3/24"}, "subnet"),
        ({"subnet": None}, "subnet"),
        ({"count": 0}, "count"),
        ({"count": True}, "count"),
        ({"count": "3"}, "count"),
        ({"count": 245}, "245 nodes"),
        ({"subnet": "10.1.2.0/28", "count": 5}, "5 nodes"),
        ({"memory": -1}, "memory"),
    ],
)
def test_a_wrong_one_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(LabError, match=said):
        parsed(**changes)


def test_what_is_no_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lab.yml").write_text("- one")
    with pytest.raises(LabError, match="no mapping"):
        read(tmp_path / "lab.yml")
    with pytest.raises(LabError, match="can't be read"):
        read(tmp_path / "absent.yml")


def test_another_interface_in_the_subnet_is_a_collision() -> None:
    routes = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "0.0.0.0/1", "dev": "tun0"},
        {"dst": "10.0.0.0/8", "dev": "wg0"},
    ]
    assert collision(parsed(), routes) == "10.0.0.0/8 at wg0"
    assert (
        collision(parsed(), [{"dst": "10.1.2.0/24", "dev": "lab"}, {"dst": "192.0.2.1", "dev": "eth0"}]) == ""
    )
