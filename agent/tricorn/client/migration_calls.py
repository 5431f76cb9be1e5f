"""The requests of migrations."""

from __future__ import annotations

from typing import Any

from tricorn.client.calls import path
from tricorn.exchange import Call


def migrate_container(ns: str, id: str, wanted: Any, *, stream: bool = False, detach: bool = False) -> Call:
    where = path(ns, "containers", id, "migrate")
    return Call("POST", where, body=wanted, stream=stream, detach=detach)


def list_migrations(ns: str) -> Call:
    return Call("GET", path(ns, "migrations"))


def get_migration(ns: str, id: str) -> Call:
    return Call("GET", path(ns, "migrations", id))


def resolve_migration(ns: str, id: str, keep: str) -> Call:
    return Call("POST", path(ns, "migrations", id, "resolve"), body={"keep": keep})
