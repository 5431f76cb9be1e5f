"""The agent's one table of packet rules, as text for nft(8). Pure.

It is replaced as a whole and at once: a packet meets the old rules or the new ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from tricorn.model.networks import Network, Port

DEFAULT_ROOT: Final = "/var/lib/tricorn"
_DNAT: Final = (
    "fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @addressed",
    "fib daddr type local dnat ip to meta l4proto . th dport map @ports",
)
Published = tuple[str, Port]  # a container's address, and what leads to it


def table_name(root: str) -> str:
    """Return the name of an agent's table: other agents of the node have others."""
    return "tricorn" if root == DEFAULT_ROOT else f"tricorn_{hashlib.sha256(root.encode()).hexdigest()[:4]}"


def remove_text(table: str) -> str:
    """Return what removes the table, there or not."""
    return f"table inet {table}\ndelete table inet {table}\n"


def table_text(table: str, networks: Sequence[Network], published: Sequence[Published]) -> str:
    """Return what replaces the table: ports of the node lead to containers, containers go out under the
    node's address, and networks are kept apart but for what is published.
    """
    if not networks:
        return remove_text(table)
    bridges = ", ".join(f'"{network.bridge}"' for network in networks)
    lines = [
        *_map("ports", "inet_proto . inet_service", [_everywhere(*item) for item in published]),
        *_map(
            "addressed", "ipv4_addr . inet_proto . inet_service", [_addressed(*item) for item in published]
        ),
        *_chain("raw", "filter", "prerouting", -300, _loopback(bridges)),
        *_chain("prerouting", "nat", "prerouting", -100, _DNAT),
        *_chain("output", "nat", "output", -100, _DNAT),
        *_chain("postrouting", "nat", "postrouting", 100, [r for n in networks for r in _outgoing(n)]),
        *_chain("forward", "filter", "forward", 0, _apart(networks, bridges)),
    ]
    body = "".join(f"  {line}\n" for line in lines)
    return f"{remove_text(table)}table inet {table} {{\n{body}}}\n"


def _map(name: str, key: str, elements: Sequence[str]) -> list[str]:
    found = [element for element in elements if element]
    content = [f"  elements = {{ {', '.join(found)} }}"] if found else []
    return [f"map {name} {{", f"  type {key} : ipv4_addr . inet_service", *content, "}"]


def _everywhere(target: str, port: Port) -> str:
    return "" if port.address else f"{port.protocol} . {port.host} : {target} . {port.container}"


def _addressed(target: str, port: Port) -> str:
    where = f"{port.address} . {port.protocol} . {port.host}"
    return f"{where} : {target} . {port.container}" if port.address else ""


def _chain(name: str, kind: str, hook: str, priority: int, rules: Sequence[str]) -> list[str]:
    head = f"  type {kind} hook {hook} priority {priority}; policy accept;"
    return [f"chain {name} {{", head, *(f"  {rule}" for rule in rules), "}"]


def _loopback(bridges: str) -> list[str]:
    """What listens on the node's loopback only is no business of containers (CVE-2020-8558): bridges have
    route_localnet, so that published ports are there on 127.0.0.1, too.
    """
    return [f"iifname {{ {bridges} }} ip daddr 127.0.0.0/8 drop"]


def _outgoing(network: Network) -> list[str]:
    bridge = network.bridge
    rules = [
        # a published port asked for from the node itself, or from a container of the same network
        f'ip saddr 127.0.0.0/8 oifname "{bridge}" masquerade',
        f'ip saddr {network.subnet} oifname "{bridge}" ct status dnat masquerade',
    ]
    if network.masquerade:
        rules.append(f'ip saddr {network.subnet} oifname != "{bridge}" masquerade')
    return rules


def _apart(networks: Sequence[Network], bridges: str) -> list[str]:
    others = [
        f'iifname "{network.bridge}" oifname != "{network.bridge}" oifname {{ {bridges} }} drop'
        for network in networks
    ]
    return ["ct state established,related accept", "ct status dnat accept", *others]
