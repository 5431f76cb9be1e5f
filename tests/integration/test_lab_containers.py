"""Containers of nodes as hosts of playbooks: inventory and connection over real ssh, and progress from there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tricorn_testing.ansible_plays import COLLECTION, examples
from tricorn_testing.images import ImageLayout
from tricorn_testing.inhabited import USR_OPTION, inhabited_images
from tricorn_testing.labs import Lab
from tricorn_testing.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.integration, pytest.mark.slow]
BINARY = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def shop(fleet: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A container `web` on each node, which sees the node's Python."""
    layout = ImageLayout(tmp_path_factory.mktemp("shop") / "layout")
    inhabited_images(layout)
    image = Registry(fleet.registry).push(layout, "rich", "shop/rich:1")
    for node in fleet.nodes:
        fleet.run(node, f"tricorn -n shop run -d --name web --label app=shop --mount {USR_OPTION} {image}")
    yield fleet
    for node in fleet.nodes:
        fleet.run(node, "tricorn -n shop rm -f web")


def inventory(lab: Lab, **settings: Any) -> str:
    path = lab.directory / "shop.containers.yml"
    path.write_text(
        yaml.safe_dump({"plugin": f"{COLLECTION}.containers", "node_groups": ["nodes"], **settings})
    )
    return str(path)


def test_containers_of_nodes_are_hosts(shop: Lab, tmp_path: Path) -> None:
    """A file goes into a container of each node and back, by modules that run there; ssh is shared by all."""
    (tmp_path / "up").write_bytes(BINARY)
    tasks = [
        {"ansible.builtin.copy": {"src": str(tmp_path / "up"), "dest": "/home/up"}},
        {"ansible.builtin.fetch": {"src": "/home/up", "dest": str(tmp_path / "down")}},
    ]
    inside = {"hosts": "label_app_shop", "gather_facts": False, "tasks": tasks,
              "vars": {"ansible_python_interpreter": "/usr/bin/python3"}}  # fmt: skip
    # the example's hosts are new ones: what leads to the nodes has to be told for them, too
    shared = (
        "ansible_user",
        "ansible_ssh_private_key_file",
        "ansible_ssh_common_args",
        "ansible_control_path_dir",
    )
    reach = {name: "{{ hostvars.n1." + name + " }}" for name in shared}
    guests = {"hosts": "n1", "gather_facts": False, "tasks": examples("container_ssh", "connection"),
              "vars": {"ansible_tricorn_namespace": "shop", **reach}}  # fmt: skip
    book = tmp_path / "inside.yml"
    book.write_text(json.dumps([inside, guests]))
    output = shop.ansible("ansible-playbook", "-i", inventory(shop, filters=["labels.app==shop"]), str(book))
    for node in shop.nodes:
        assert (tmp_path / f"down/web.shop.{node}/home/up").read_bytes() == BINARY
    assert "[n1 -> web.n1" in output
    assert len(list((shop.state / "cp").iterdir())) <= len(shop.nodes) + 1  # and the registry's


def test_progress_comes_from_nodes(shop: Lab, tmp_path: Path) -> None:
    """The line goes to stderr, and names the node."""
    image = f"{shop.registry}/shop/rich:1"
    pull = {f"{COLLECTION}.image": {"name": image, "namespace": "progress"}}
    book = tmp_path / "pull.yml"
    book.write_text(json.dumps([{"hosts": "n1", "gather_facts": False, "tasks": [pull]}]))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ANSIBLE_CALLBACKS_ENABLED", f"{COLLECTION}.progress")
        environment.setenv("TRICORN_PROGRESS", "plain")
        done = shop.attempt_ansible("ansible-playbook", str(book))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"n1  image {image}: " in done.stderr, done.stderr  # what comes fast may be skipped, not all of it
    shop.run("n1", f"tricorn -n progress image rm {image}")
