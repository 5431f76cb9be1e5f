"""The requests of execs that go on without a client."""

from __future__ import annotations

from typing import Any

from tricorn.client.calls import path, query
from tricorn.exchange import Call


def execs(ns: str, container: str) -> Call:
    return Call("GET", path(ns, "containers", container, "execs"))


def start_exec(ns: str, container: str, wanted: Any) -> Call:
    return Call("POST", path(ns, "containers", container, "execs"), body=wanted)


def exec_of(ns: str, container: str, id: str) -> Call:
    return Call("GET", path(ns, "containers", container, "execs", id))


def remove_exec(ns: str, container: str, id: str, *, force: bool = False) -> Call:
    return Call("DELETE", path(ns, "containers", container, "execs", id), query(force=force))


def wait_exec(ns: str, container: str, id: str) -> Call:
    return Call("GET", path(ns, "containers", container, "execs", id, "wait"))


def exec_action(ns: str, container: str, id: str, verb: str, body: Any = None) -> Call:
    """Return kill, resize or close-stdin of an exec."""
    return Call("POST", path(ns, "containers", container, "execs", id, verb), body=body)


def attach_exec(ns: str, container: str, id: str, *, replay: bool = False) -> Call:
    return Call(
        "GET", path(ns, "containers", container, "execs", id, "attach"), query(replay=replay), upgrade=True
    )


def exec_logs(
    ns: str,
    container: str,
    id: str,
    *,
    follow: bool = False,
    tail: int | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Call:
    where = path(ns, "containers", container, "execs", id, "logs")
    return Call("GET", where, query(follow=follow, tail=tail, since=since, until=until), stream=True)
