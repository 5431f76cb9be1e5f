"""The request of a node's whole desired state."""

from __future__ import annotations

from typing import Any

from tricorn.client.calls import path, query
from tricorn.exchange import Call


def put_node_state(wanted: Any, *, plan: bool = False, stream: bool = False) -> Call:
    return Call("PUT", path("apply"), query(plan=plan), wanted, stream=stream)
