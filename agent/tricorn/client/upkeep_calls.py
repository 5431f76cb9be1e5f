"""The rows of the HTTP API about leases, verification, quarantine and usage, as requests."""

from __future__ import annotations

from tricorn.client.calls import path, query
from tricorn.exchange import Call


# ---------------------------------------------------------------- leases
def lease(ns: str, id: str) -> Call:
    return Call("GET", path(ns, "leases", id))


def delete_lease(ns: str, id: str, *, sync: bool = False) -> Call:
    return Call("DELETE", path(ns, "leases", id), query(sync=sync))


def lease_resources(ns: str, id: str) -> Call:
    return Call("GET", path(ns, "leases", id, "resources"))


def add_to_lease(ns: str, id: str, type: str, key: str) -> Call:
    return Call("POST", path(ns, "leases", id, "resources"), body={"type": type, "id": key})


def drop_from_lease(ns: str, id: str, type: str, key: str) -> Call:
    return Call("DELETE", path(ns, "leases", id, "resources", type, key))


# ---------------------------------------------------------------- verification
def scrub_status() -> Call:
    return Call("GET", path("content", "scrub"))


def scrub(*, namespace: str = "", keep_orphans: bool = False, stream: bool = False) -> Call:
    return Call(
        "POST",
        path("content", "scrub"),
        query(namespace=namespace or None, keep_orphans=keep_orphans),
        stream=stream,
    )


def quarantine() -> Call:
    return Call("GET", path("content", "quarantine"))


def fetch_quarantined(digest: str) -> Call:
    return Call("POST", path("content", "quarantine", digest, "fetch"))


def release_quarantined(digest: str, *, force: bool = False) -> Call:
    return Call("DELETE", path("content", "quarantine", digest), query(force=force))


def blob_check(ns: str, digest: str) -> Call:
    return Call("GET", path(ns, "content", digest, "check"))


# ---------------------------------------------------------------- usage
def namespace_usage(name: str, *, active: bool = False) -> Call:
    return Call("GET", path("namespaces", name, "usage"), query(active=active))
