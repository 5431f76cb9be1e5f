"""The rows of the HTTP API about networks, as requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tricorn.client.calls import path, query
from tricorn.exchange import Call


def networks(filters: Iterable[str] = ()) -> Call:
    return Call("GET", path("networks"), query(filters))


def network(name: str) -> Call:
    return Call("GET", path("networks", name))


def put_network(name: str, desired: Mapping[str, Any], *, plan: bool = False) -> Call:
    return Call("PUT", path("networks", name), query(plan=plan), body=dict(desired))


def delete_network(name: str, *, plan: bool = False) -> Call:
    return Call("DELETE", path("networks", name), query(plan=plan))
