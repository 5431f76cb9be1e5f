"""The requests of files in containers."""

from __future__ import annotations

from typing import Any

from tricorn.client.calls import path, query
from tricorn.exchange import Call


def look_at_file(ns: str, id: str, where: str, *, follow: bool = False, digest: bool = False) -> Call:
    return Call("GET", path(ns, "containers", id, "files"), query(path=where, follow=follow, digest=digest))


def put_file(ns: str, id: str, wanted: Any, *, plan: bool = False) -> Call:
    return Call("PUT", path(ns, "containers", id, "files"), query(plan=plan), wanted)


def get_archive(ns: str, id: str, where: str, *, follow: bool = False) -> Call:
    return Call("GET", path(ns, "containers", id, "archive"), query(path=where, follow=follow))


def put_archive(ns: str, id: str, where: str, **options: Any) -> Call:
    return Call("PUT", path(ns, "containers", id, "archive"), query(path=where, **options), upload=True)


def put_copy(ns: str, id: str, wanted: Any, *, plan: bool = False) -> Call:
    return Call("PUT", path(ns, "containers", id, "copy"), query(plan=plan), wanted)
