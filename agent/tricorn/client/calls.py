"""The rows of the HTTP API as requests: names are percent-encoded here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tricorn.exchange import Call
from tricorn.frames import utf8


def segment(name: str) -> str:
    """Return `name` as one path segment, slashes encoded as well."""
    from urllib.parse import quote

    return quote(utf8(name), safe="")


def path(*names: str) -> str:
    return "/v1/" + "/".join(segment(name) if not name.isalnum() else name for name in names)


def query(filters: Iterable[str] = (), **fields: str | float | bool | None) -> tuple[tuple[str, str], ...]:
    """Return the query of `fields` that are set (None and False aren't) and of repeated `filter`s."""
    pairs = [(key, _text(value)) for key, value in fields.items() if value is not None and value is not False]
    return (*pairs, *(("filter", item) for item in filters))


def _text(value: str | float | bool) -> str:
    return "true" if value is True else str(value)


# ---------------------------------------------------------------- node
def version() -> Call:
    return Call("GET", "/v1/version")


def info() -> Call:
    return Call("GET", "/v1/info")


def registry(host: str) -> Call:
    return Call("GET", path("registry"), query(host=host))


def healthz() -> Call:
    return Call("GET", "/healthz")


def metrics() -> Call:
    return Call("GET", "/metrics")


# ---------------------------------------------------------------- namespaces
def namespaces(filters: Iterable[str] = ()) -> Call:
    return Call("GET", path("namespaces"), query(filters))


def namespace(name: str) -> Call:
    return Call("GET", path("namespaces", name))


def put_namespace(name: str, labels: dict[str, str], *, plan: bool = False) -> Call:
    return Call("PUT", path("namespaces", name), query(plan=plan), {"labels": labels})


def patch_namespace(name: str, labels: dict[str, str]) -> Call:
    return Call("PATCH", path("namespaces", name), body={"labels": labels})


def delete_namespace(name: str, *, plan: bool = False) -> Call:
    return Call("DELETE", path("namespaces", name), query(plan=plan))


# ---------------------------------------------------------------- containers
def commit_container(ns: str, id: str, wanted: Any, *, stream: bool = False, detach: bool = False) -> Call:
    return Call("POST", path(ns, "containers", id, "commit"), body=wanted, stream=stream, detach=detach)


def containers(ns: str, filters: Iterable[str] = (), *, all: bool = True) -> Call:
    return Call("GET", path(ns, "containers"), query(filters, all="true" if all else "false"))


def container(ns: str, id: str) -> Call:
    return Call("GET", path(ns, "containers", id))


def put_container(
    ns: str, id: str, desired: Any, *, plan: bool = False, stream: bool = False, detach: bool = False
) -> Call:
    return Call("PUT", path(ns, "containers", id), query(plan=plan), desired, stream=stream, detach=detach)


def create_container(
    ns: str, desired: Any, *, name: str = "", stream: bool = False, detach: bool = False
) -> Call:
    body = {"name": name, "desired": desired} if name else {"desired": desired}
    return Call("POST", path(ns, "containers"), body=body, stream=stream, detach=detach)


def delete_container(
    ns: str, id: str, *, force: bool = False, stop_timeout: float | None = None, plan: bool = False
) -> Call:
    return Call(
        "DELETE", path(ns, "containers", id), query(force=force, stop_timeout=stop_timeout, plan=plan)
    )


def action(ns: str, id: str, verb: str, body: Any = None) -> Call:
    """Return start, stop, restart, kill, pause, resume or resize of a container."""
    return Call("POST", path(ns, "containers", id, verb), body=body)


def wait(ns: str, id: str) -> Call:
    return Call("GET", path(ns, "containers", id, "wait"), query(condition="stopped"))


def stop_node(*, timeout: float | None = None, plan: bool = False) -> Call:
    return Call("POST", path("node", "stop"), query(timeout=timeout, plan=plan))


def start_node() -> Call:
    return Call("POST", path("node", "start"))


def put_cordon(wanted: Any, *, plan: bool = False) -> Call:
    return Call("PUT", path("node", "cordon"), query(plan=plan), wanted)


def lift_cordon(*, plan: bool = False) -> Call:
    return Call("DELETE", path("node", "cordon"), query(plan=plan))


def wait_many(
    ns: str, names: Iterable[str], *, state: str = "exited", any: bool = False, timeout: float | None = None
) -> Call:
    repeated = tuple(("container", name) for name in names)
    return Call("GET", path(ns, "wait"), (*repeated, *query(state=state, any=any, timeout=timeout)))


def exec_(ns: str, id: str, request: Any) -> Call:
    return Call("POST", path(ns, "containers", id, "exec"), body=request)


def exec_session(ns: str, id: str) -> Call:
    """Return the upgrade request; the ExecRequest follows as the first frame."""
    return Call("POST", path(ns, "containers", id, "exec"), upgrade=True)


def attach(ns: str, id: str, *, start: bool = False) -> Call:
    return Call("GET", path(ns, "containers", id, "attach"), query(start=start), upgrade=True)


def logs(
    ns: str,
    id: str,
    *,
    follow: bool = False,
    tail: int | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Call:
    return Call(
        "GET",
        path(ns, "containers", id, "logs"),
        query(follow=follow, tail=tail, since=since, until=until),
        stream=True,
    )


def stats(ns: str, id: str) -> Call:
    return Call("GET", path(ns, "containers", id, "stats"))


def samples(ns: str | None, names: Iterable[str] = ()) -> Call:
    """Return what takes samples of a namespace's running containers (None: of all namespaces')."""
    if ns is None:
        return Call("GET", path("stats"))
    return Call("GET", path(ns, "stats"), tuple(("container", name) for name in names))


def processes(ns: str, id: str) -> Call:
    return Call("GET", path(ns, "containers", id, "processes"))


def health(ns: str, id: str, *, wait: bool = False, timeout: float | None = None) -> Call:
    return Call("GET", path(ns, "containers", id, "health"), query(wait=wait, timeout=timeout))


def pids(ns: str, id: str) -> Call:
    return Call("GET", path(ns, "containers", id, "pids"))


# ---------------------------------------------------------------- content, snapshots, leases
def content(ns: str, filters: Iterable[str] = ()) -> Call:
    return Call("GET", path(ns, "content"), query(filters))


def blob(ns: str, digest: str) -> Call:
    return Call("GET", path(ns, "content", digest))


def blob_data(ns: str, digest: str) -> Call:
    return Call("GET", path(ns, "content", digest, "data"))


def delete_blob(ns: str, digest: str) -> Call:
    return Call("DELETE", path(ns, "content", digest))


def snapshots(ns: str, snapshotter: str = "", filters: Iterable[str] = ()) -> Call:
    return Call("GET", path(ns, "snapshots"), query(filters, snapshotter=snapshotter or None))


def snapshot(ns: str, snapshotter: str, key: str) -> Call:
    return Call("GET", path(ns, "snapshots", snapshotter, key))


def delete_snapshot(ns: str, snapshotter: str, key: str) -> Call:
    return Call("DELETE", path(ns, "snapshots", snapshotter, key))


def put_snapshot(ns: str, snapshotter: str, key: str, desired: Any, *, plan: bool = False) -> Call:
    return Call("PUT", path(ns, "snapshots", snapshotter, key), query(plan=plan), desired)


def snapshot_diff(ns: str, snapshotter: str, key: str, wanted: Any) -> Call:
    """Return the question for the bytes of a layer."""
    return Call("POST", path(ns, "snapshots", snapshotter, key, "diff"), body=wanted)


def leases(ns: str, filters: Iterable[str] = ()) -> Call:
    return Call("GET", path(ns, "leases"), query(filters))


def create_lease(
    ns: str, id: str | None = None, labels: dict[str, str] | None = None, expire_seconds: float | None = None
) -> Call:
    given = {"id": id, "labels": labels or None, "expire_seconds": expire_seconds}
    body = {key: value for key, value in given.items() if value is not None}
    return Call("POST", path(ns, "leases"), body=body)


def put_blob(ns: str, digest: str, desired: Any, *, plan: bool = False) -> Call:
    return Call("PUT", path(ns, "content", digest), query(plan=plan), desired)


def put_lease(ns: str, id: str, desired: Any, *, plan: bool = False) -> Call:
    return Call("PUT", path(ns, "leases", id), query(plan=plan), desired)


def delete_lease(ns: str, id: str) -> Call:
    return Call("DELETE", path(ns, "leases", id))


# ---------------------------------------------------------------- operations, events, collection
def operations(ns: str) -> Call:
    return Call("GET", path(ns, "operations"))


def operation(ns: str, id: str) -> Call:
    return Call("GET", path(ns, "operations", id))


def cancel_operation(ns: str, id: str) -> Call:
    return Call("DELETE", path(ns, "operations", id))


def operation_progress(ns: str, id: str) -> Call:
    return Call("GET", path(ns, "operations", id, "progress"), stream=True)


def events(
    ns: str | None,
    *,
    since: int | None = None,
    filters: Iterable[str] = (),
    follow: bool = False,
    limit: int | None = None,
) -> Call:
    where = path(ns, "events") if ns else path("events")
    return Call("GET", where, query(filters, since=since, follow=follow, limit=limit), stream=follow)


def collect(*, dry_run: bool = False) -> Call:
    return Call("POST", path("gc"), query(dry_run=dry_run))


def explain(ns: str, object: str) -> Call:
    return Call("GET", path(ns, "gc", "explain"), query(object=object))


# ---------------------------------------------------------------- image policy
def policy() -> Call:
    return Call("GET", path("policy"))


def check_policy(ns: str, question: dict[str, Any]) -> Call:
    return Call("POST", path(ns, "policy", "check"), (), question)
