"""The agent's one table of packet rules, as text for nft(8). Pure.

It is replaced as a whole and at once: a packet meets the old rules or the new ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from tricorn.model.networks import Network, Port
from tricorn.rules.networks import places_of

DEFAULT_ROOT: Final = "/var/lib/tricorn"
_DNAT: Final = {
    4: (
        "fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @addressed",
        "fib daddr type local dnat ip to meta l4proto . th dport map @ports",
    ),
    6: (
        "fib daddr type local dnat ip6 to ip6 daddr . meta l4proto . th dport map @addressed6",
        "fib daddr type local dnat ip6 to meta l4proto . th dport map @ports6",
    ),
}
_TYPES: Final = {4: "ipv4_addr", 6: "ipv6_addr"}
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
    # a kernel without IPv6 takes no rules of it
    families = [4, 6] if any(network.subnet6 for network in networks) else [4]
    dnat = [rule for version in families for rule in _DNAT[version]]
    lines = [
        *(line for version in families for line in _maps(version, published)),
        *_chain("raw", "filter", "prerouting", -300, _loopback(bridges)),
        *_chain("prerouting", "nat", "prerouting", -100, dnat),
        *_chain("output", "nat", "output", -100, dnat),
        *_chain("postrouting", "nat", "postrouting", 100, [r for n in networks for r in _outgoing(n)]),
        *_chain("forward", "filter", "forward", 0, _apart(networks, bridges)),
    ]
    body = "".join(f"  {line}\n" for line in lines)
    return f"{remove_text(table)}table inet {table} {{\n{body}}}\n"


def _maps(version: int, published: Sequence[Published]) -> list[str]:
    """Return the maps of a family, from ports at all addresses of the node and from those at one of them."""
    everywhere, addressed = [], []
    for target, port in published:
        families, address = places_of(port)
        if version not in families or (":" in target) != (version == 6):
            continue
        leads = f"{port.protocol} . {port.host} : {target} . {port.container}"
        if address:
            addressed.append(f"{address} . {leads}")
        else:
            everywhere.append(leads)
    kind, suffix = _TYPES[version], "" if version == 4 else "6"
    return [
        *_map(f"ports{suffix}", f"inet_proto . inet_service : {kind}", everywhere),
        *_map(f"addressed{suffix}", f"{kind} . inet_proto . inet_service : {kind}", addressed),
    ]


def _map(name: str, types: str, elements: Sequence[str]) -> list[str]:
    content = [f"  elements = {{ {', '.join(elements)} }}"] if elements else []
    return [f"map {name} {{", f"  type {types} . inet_service", *content, "}"]


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
    rules = []
    for word, loopback, subnet in (
        ("ip", "127.0.0.0/8", network.subnet),
        ("ip6", "::1", network.subnet6),
    ):
        if not subnet:
            continue
        rules += [
            # a published port asked for from the node itself, or from a container of the same network
            f'{word} saddr {loopback} oifname "{bridge}" masquerade',
            f'{word} saddr {subnet} oifname "{bridge}" ct status dnat masquerade',
        ]
        if network.masquerade:
            rules.append(f'{word} saddr {subnet} oifname != "{bridge}" masquerade')
    return rules


def _apart(networks: Sequence[Network], bridges: str) -> list[str]:
    others = [
        f'iifname "{network.bridge}" oifname != "{network.bridge}" oifname {{ {bridges} }} drop'
        for network in networks
    ]
    return ["ct state established,related accept", "ct status dnat accept", *others]
