"""The lab's network on this machine's side: a bridge with an address, nothing else."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lab.commands import run
from lab.topology import LabError, Topology

OURS = "02:74:6c:61:62:01"  # the address of bridges that the lab has made, and may remove
WIDEST = 8  # routes to more than this are other ways to say "default"


def ensure(topology: Topology) -> bool:
    """Have the bridge with its address; return whether it had to be made. LabError if the subnet is taken."""
    wanted = ipaddress.IPv4Interface(topology.gateway)
    if wanted in _addresses(topology.name):
        return False
    if taken := collision(topology, json.loads(run(["ip", "-4", "-json", "route", "show", "table", "all"]))):
        raise LabError(
            f"{topology.subnet} is in use on this machine: {taken}", "choose another subnet in the topology"
        )
    remove(topology.name)
    lines = [
        f"link add name {topology.name} address {OURS} type bridge",
        f"addr add {topology.gateway} dev {topology.name}",
        f"link set {topology.name} up",
    ]
    run(["ip", "-batch", "-"], stdin="\n".join(lines))
    return True


def collision(topology: Topology, routes: Iterable[Mapping[str, Any]]) -> str:
    """Return what of another interface the subnet overlaps with, "" if nothing."""
    for route in routes:
        if route["dst"] == "default" or route.get("dev") == topology.name:
            continue
        network = ipaddress.IPv4Network(route["dst"])
        if network.prefixlen >= WIDEST and network.overlaps(topology.subnet):
            return f"{route['dst']} at {route.get('dev', '?')}"
    return ""


def _addresses(name: str) -> list[ipaddress.IPv4Interface]:
    if not exists(name):
        return []
    (link,) = json.loads(run(["ip", "-4", "-json", "addr", "show", "dev", name])) or [{}]
    found = link.get("addr_info", [])
    return [ipaddress.IPv4Interface(f"{item['local']}/{item['prefixlen']}") for item in found]


def exists(name: str) -> bool:
    return Path("/sys/class/net", name).exists()


def remove(name: str) -> None:
    """Remove the bridge; LabError if the interface of that name isn't the lab's."""
    if not exists(name):
        return
    if Path("/sys/class/net", name, "address").read_text().strip() != OURS:
        raise LabError(f"{name} is an interface of this machine that is no lab's", "rename the lab")
    run(["ip", "link", "del", name])
