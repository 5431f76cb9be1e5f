"""What tells a container of its network: its files in /etc, its place in the runtime's spec. Pure."""

from __future__ import annotations

import copy
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final

FILES: Final = {"hosts": "/etc/hosts", "resolv.conf": "/etc/resolv.conf", "hostname": "/etc/hostname"}


def hosts_text(addresses: Sequence[str], names: Sequence[str]) -> str:
    """Return /etc/hosts of a container that has these addresses and names."""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    known = " ".join(dict.fromkeys(name for name in names if name))
    lines += [f"{address}\t{known}" for address in addresses]
    return "".join(f"{line}\n" for line in lines)


def resolver_text(
    of_node: str, servers: Sequence[str] = (), search: Sequence[str] = (), addresses: Sequence[str] = ()
) -> str:
    """Return /etc/resolv.conf: the node's, with `servers` in place of its own.

    The node's own without those only the node itself can ask: servers on its loopback and, for a container
    with `addresses`, those of a family that it has none of, and those behind an interface of the node.
    """
    families = {":" in address for address in addresses}
    kept = []
    for line in of_node.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and (servers or len(words) < 2 or _is_loopback(words[1])):
            continue
        if words[0] == "nameserver" and families and _is_beyond(words[1], families):
            continue
        if words[0] in {"search", "domain"} and search:
            continue
        kept.append(" ".join(words))
    kept += [f"nameserver {server}" for server in servers]
    kept += [f"search {' '.join(search)}"] if search else []
    return "".join(f"{line}\n" for line in kept)


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return True


def _is_beyond(text: str, families: set[bool]) -> bool:
    return "%" in text or (":" in text) not in families


def has_server(text: str) -> bool:
    """Return whether a resolv.conf names a server that isn't on the node's loopback."""
    return "nameserver " in resolver_text(text)


def joined(spec: Mapping[str, Any], namespace: str, files: Mapping[str, str]) -> dict[str, Any]:
    """Return the spec with the network namespace at the path `namespace`, and with `files` (by their names in
    the container) where the request mounts nothing of its own.
    """
    made = copy.deepcopy(dict(spec))
    linux = made.setdefault("linux", {})
    others = [entry for entry in linux.get("namespaces") or () if entry.get("type") != "network"]
    linux["namespaces"] = [*others, {"type": "network", "path": namespace}]
    taken = {mount.get("destination") for mount in made.get("mounts") or ()}
    mounts = [
        {"destination": target, "type": "bind", "source": source, "options": ["bind", "rprivate", "rw"]}
        for target, source in files.items()
        if target not in taken and "/etc" not in taken
    ]
    made["mounts"] = [*(made.get("mounts") or ()), *mounts]
    return made
