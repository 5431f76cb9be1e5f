"""User namespaces of containers that move: processes and files keep the ids that they have. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from attrs import evolve

from tricorn.errors import Conflict
from tricorn.model.requests import ContainerDesired

_KEYS = ("uidMappings", "gidMappings")


def mapped_request(desired: ContainerDesired, spec: bytes) -> ContainerDesired:
    """Return the request with the ids that the container's user namespace has, whoever chose them."""
    linux = msgspec.json.decode(spec).get("linux") or {}
    uids, gids = (
        tuple(f"{one['containerID']}:{one['hostID']}:{one['size']}" for one in linux.get(key) or ())
        for key in _KEYS
    )
    return evolve(desired, uid_map=uids, gid_map=gids) if uids else desired


def check_ids(desired: ContainerDesired, others: Iterable[tuple[str, bytes]]) -> None:
    """Refuse ids that another container (its name and spec) has, unless it has exactly the same.

    Those who chose the same ids for several containers wanted that; ids that the agent chose are one's own.
    """
    wanted = _hosts(line.split(":") for line in (*desired.uid_map, *desired.gid_map))
    for name, spec in others if wanted else ():
        if b'"uidMappings"' not in spec:
            continue
        linux: dict[str, Any] = msgspec.json.decode(spec).get("linux") or {}
        found = _hosts(
            (one["containerID"], one["hostID"], one["size"]) for key in _KEYS for one in linux.get(key) or ()
        )
        if found != wanted and any(a < d and c < b for a, b in wanted for c, d in found):
            raise Conflict(
                f"container {name} of the target has some of the ids of its user namespace",
                hint="let it have other ids, or move to another node",
            )


def _hosts(lines: Iterable[Iterable[Any]]) -> set[tuple[int, int]]:
    parsed = (tuple(map(int, line)) for line in lines)
    return {(host, host + size) for _, host, size in parsed}
