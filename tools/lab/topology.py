"""The topology file, parsed: which nodes a lab has, and where.

The inventory plugin of the collection and the Vagrantfile read the same file, and come to the same addresses.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # Ansible brings it, its types are a package apart
from attrs import evolve, frozen

FIRST_NODE = 11  # host numbers: 1 is this machine, 2 the registry, n1 is 11
REGISTRY_NUMBER = 2
REGISTRY_NAME = "registry"
MOST_NODES = 200
# It begins names of network interfaces, which end with "-254" and have 15 characters at most.
_NAME = re.compile(r"[a-z][a-z0-9]{0,10}")


class LabError(Exception):
    """What keeps the lab from the wanted state, and what helps."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


@frozen
class Node:
    name: str
    number: int
    address: str
    registry: bool = False


@frozen
class Topology:
    """One lab. Its bridge is called `name`; `memory` and `disk` are MiB for each node."""

    name: str
    subnet: ipaddress.IPv4Network
    count: int
    state: Path
    registry: bool = True
    registry_port: int = 5000
    memory: int = 1024
    disk: int = 4096

    @property
    def cgroup(self) -> str:
        """Return the cgroup above those of the nodes."""
        return f"lab-{self.name}"

    @property
    def gateway(self) -> str:
        """Return the bridge's own address with its prefix length."""
        return f"{self.subnet[1]}/{self.subnet.prefixlen}"

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Return all machines, the registry first."""
        numbered = [(f"n{index + 1}", FIRST_NODE + index, False) for index in range(self.count)]
        if self.registry:
            numbered.insert(0, (REGISTRY_NAME, REGISTRY_NUMBER, True))
        return tuple(Node(name, number, str(self.subnet[number]), role) for name, number, role in numbered)

    def with_count(self, count: int) -> Topology:
        """Return the same lab with `count` nodes; LabError if its subnet hasn't room for them."""
        if not 1 <= count <= MOST_NODES or FIRST_NODE + count >= self.subnet.num_addresses:
            raise LabError(f"{count} nodes don't fit into {self.subnet}, a lab has 1 to {MOST_NODES}")
        return evolve(self, count=count)


def read(path: Path) -> Topology:
    """Parse the file; LabError if it can't be read or isn't a topology."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise LabError(f"the topology can't be read: {error}") from None
    if not isinstance(document, Mapping):
        raise LabError(f"{path} is no topology: it holds no mapping")
    return parse(document, path.parent)


def parse(document: Mapping[str, Any], directory: Path) -> Topology:
    """Return the topology in `document`; relative paths in it are taken from `directory`."""
    name = str(document.get("name", ""))
    if not _NAME.fullmatch(name):
        raise LabError(f"name: {name!r} isn't 1 to 11 small letters and digits, a letter first")
    try:
        subnet = ipaddress.IPv4Network(document.get("subnet", ""))
    except ValueError as error:
        raise LabError(f"subnet: {error}") from None
    topology = Topology(
        name, subnet, 1, (directory / str(document.get("state", "../.lab/lab"))).resolve(),
        registry=bool(document.get("registry", True)),
        **{key: _number(document, key) for key in ("registry_port", "memory", "disk") if key in document},
    )  # fmt: skip
    return topology.with_count(_number(document, "count"))


def _number(document: Mapping[str, Any], key: str) -> int:
    value = document.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise LabError(f"{key}: {value!r} isn't a positive number")
    return value
