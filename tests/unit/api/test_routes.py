"""Every row of the API: its way to one service call, its answer, its errors."""

from __future__ import annotations

from typing import Any

import pytest

from tricorn.errors import BY_CODE, NotFound
from tricorn.model.copies import FileDesired, NodeCopy
from tricorn.model.execs import ExecStart
from tricorn.model.node_states import NodeState
from tricorn.model.records import LeaseResource
from tricorn.model.requests import (
    ArchiveExport,
    ArchiveImport,
    ContainerDesired,
    ContentDesired,
    ExecRequest,
    ImageDesired,
    ImagePush,
    ImageTags,
    KillRequest,
    LeaseDesired,
    SnapshotDesired,
    StopRequest,
)
from tricorn_testing.api import BLOB, DIGEST, EVENT, LOG, NAMED, Server

C = "/v1/default/containers/web"
DESIRED = {"image": "redis"}

# method, target, body, the service's method, its positional arguments, some keyword arguments
ROWS: list[tuple[str, str, Any, str, tuple[Any, ...], dict[str, Any]]] = [
    ("GET", "/v1/version", None, "node.version", (), {}),
    ("GET", "/v1/info", None, "node.info", (), {}),
    ("GET", "/v1/namespaces?filter=a&filter=b", None, "namespaces.list", (("a", "b"),), {}),
    ("GET", "/v1/namespaces/default", None, "namespaces.get", ("default",), {}),
    ("PUT", "/v1/namespaces/default", {"labels": {"a": "b"}}, "namespaces.put", ("default", {"a": "b"}), {"plan": False}),
    ("PUT", "/v1/namespaces/default?plan=true", None, "namespaces.put", ("default", {}), {"plan": True}),
    ("PATCH", "/v1/namespaces/default", {"labels": {"a": ""}}, "namespaces.update", ("default", {"a": ""}), {}),
    ("DELETE", "/v1/namespaces/default?plan=true", None, "namespaces.delete", ("default",), {"plan": True}),
    ("GET", "/v1/default/images", None, "images.list", ("default", ()), {}),
    ("PUT", "/v1/default/images", {"reference": "redis"}, "images.put", ("default", ImageDesired("redis")), {}),
    ("PUT", "/v1/default/images?plan=1", {"reference": "redis"}, "images.put", ("default", ImageDesired("redis")), {"plan": True}),
    ("GET", "/v1/default/images/docker.io%2Flibrary%2Fredis%3A7", None, "images.get", ("default", "docker.io/library/redis:7"), {}),
    ("DELETE", "/v1/default/images/redis?sync=true", None, "images.delete", ("default", "redis"), {"sync": True, "plan": False}),
    ("PUT", "/v1/default/images/redis/tags?plan=true", {"references": ["a"]}, "image_states.tagged", ("default", "redis", ImageTags(("a",))), {"plan": True}),
    ("PUT", "/v1/default/images/redis/push?plan=true", {"reference": "a"}, "image_states.pushed", ("default", NAMED, ImagePush("a")), {"plan": True}),
    ("PUT", "/v1/default/images/redis/push", {"reference": "a"}, "image_states.pushed", ("default", NAMED, ImagePush("a")), {}),
    ("PUT", "/v1/default/archive/export", {"path": "/a", "images": ["b"]}, "archive_files.exported", ("default", ArchiveExport("/a", ("b",))), {}),
    ("PUT", "/v1/default/archive/import?plan=true", {"path": "/a"}, "archive_files.imported", ("default", ArchiveImport("/a")), {"plan": True}),
    ("PUT", f"/v1/default/content/{DIGEST}?plan=true", {"labels": {"a": ""}}, "content.put", ("default", DIGEST, ContentDesired(labels={"a": ""})), {"plan": True}),
    ("PUT", "/v1/default/leases/l1", {"expire_seconds": 0}, "lease_states.put", ("default", "l1", LeaseDesired(expire_seconds=0.0)), {"plan": False}),
    ("PUT", "/v1/default/snapshots/native/s?plan=true", {"state": "view"}, "snapshot_states.put", ("default", "native", "s", SnapshotDesired("view")), {"plan": True}),
    ("PUT", "/v1/default/leases/l1", {"state": "absent"}, "lease_states.absent", ("default", "l1"), {"plan": False}),
    ("GET", "/v1/default/containers?all=false", None, "containers.list", ("default", ()), {"all": False}),
    ("PUT", C, DESIRED, "containers.put", ("default", "web", ContainerDesired("redis")), {}),
    ("PUT", f"{C}?plan=true", DESIRED, "containers.put", ("default", "web", ContainerDesired("redis")), {"plan": True}),
    ("POST", "/v1/default/containers", {"desired": DESIRED, "name": "web"}, "containers.create", ("default", "web", ContainerDesired("redis")), {}),
    ("POST", "/v1/default/containers", {"desired": DESIRED}, "containers.create", ("default", None, ContainerDesired("redis")), {}),
    ("GET", C, None, "containers.get", ("default", "web"), {}),
    ("DELETE", f"{C}?force=true&stop_timeout=2.5", None, "containers.delete", ("default", "web"), {"force": True, "stop_timeout": 2.5, "plan": False}),
    ("POST", f"{C}/start", None, "tasks.start", ("default", "web"), {}),
    ("POST", f"{C}/stop", {"timeout": 3}, "tasks.stop", ("default", "web", StopRequest(3.0)), {}),
    ("POST", f"{C}/stop", None, "tasks.stop", ("default", "web", StopRequest()), {}),
    ("POST", f"{C}/restart", {"timeout": 3}, "tasks.restart", ("default", "web", StopRequest(3.0)), {}),
    ("POST", f"{C}/kill", {"signal": "SIGHUP"}, "tasks.kill", ("default", "web", KillRequest("SIGHUP")), {}),
    ("POST", f"{C}/pause", None, "tasks.pause", ("default", "web"), {}),
    ("POST", f"{C}/resume", {}, "tasks.resume", ("default", "web"), {}),
    ("GET", f"{C}/wait?condition=stopped", None, "tasks.wait", ("default", "web"), {}),
    ("POST", f"{C}/exec", {"args": ["redis-cli", "ping"]}, "tasks.exec", ("default", "web", ExecRequest(("redis-cli", "ping"))), {}),
    ("POST", f"{C}/resize", {"rows": 40, "columns": 120}, "tasks.resize", ("default", "web", 40, 120), {}),
    ("GET", f"{C}/health?wait=true&timeout=2", None, "health.wait_healthy", ("default", "web", 2.0), {}),
    ("GET", f"{C}/health", None, "health.get", ("default", "web"), {}),
    ("GET", f"{C}/execs", None, "execs.list", ("default", "web"), {}),
    ("POST", f"{C}/execs", {"args": ["sh"], "id": "e1", "stdin": True}, "execs.start", ("default", "web", ExecStart(("sh",), "e1", stdin=True)), {}),
    ("GET", f"{C}/execs/e1", None, "execs.get", ("default", "web", "e1"), {}),
    ("DELETE", f"{C}/execs/e1?force=true", None, "execs.remove", ("default", "web", "e1"), {"force": True}),
    ("GET", f"{C}/execs/e1/wait", None, "execs.wait", ("default", "web", "e1"), {}),
    ("POST", f"{C}/execs/e1/kill", {"signal": "SIGHUP"}, "execs.kill", ("default", "web", "e1", KillRequest("SIGHUP")), {}),
    ("POST", f"{C}/execs/e1/resize", {"rows": 40, "columns": 120}, "execs.resize", ("default", "web", "e1", 40, 120), {}),
    ("POST", f"{C}/execs/e1/close-stdin", None, "execs.close_stdin", ("default", "web", "e1"), {}),
    ("GET", f"{C}/stats", None, "tasks.stats", ("default", "web"), {}),
    ("GET", f"{C}/pids", None, "tasks.pids", ("default", "web"), {}),
    ("GET", f"{C}/files?path=/etc/hosts&digest=true", None, "copies.look", ("default", "web", "/etc/hosts"), {"follow": False, "digest": True}),
    ("PUT", "/v1/apply?plan=true", {"parallel": 2}, "node_states.put", (NodeState(parallel=2),), {"plan": True}),
    ("PUT", f"{C}/files?plan=true", {"path": "/a"}, "copies.put", ("default", "web", FileDesired("/a")), {"plan": True}),
    ("PUT", f"{C}/copy", {"path": "/a", "node_path": "/b"}, "copies.copy", ("default", "web", NodeCopy("/a", "/b")), {"plan": False}),
    ("GET", "/v1/default/content", None, "content.list", ("default", ()), {}),
    ("GET", f"/v1/default/content/{DIGEST}", None, "content.info", ("default", DIGEST), {}),
    ("DELETE", f"/v1/default/content/{DIGEST}", None, "content.delete", ("default", DIGEST), {}),
    ("GET", "/v1/default/snapshots?snapshotter=overlay", None, "snapshots.list", ("default", "overlay", ()), {}),
    ("GET", "/v1/default/snapshots/overlay/sha256%3Akey", None, "snapshots.get", ("default", "overlay", "sha256:key"), {}),
    ("DELETE", "/v1/default/snapshots/overlay/a%2Fb", None, "snapshots.delete", ("default", "overlay", "a/b"), {}),
    ("GET", "/v1/default/leases", None, "leases.list", ("default", ()), {}),
    ("POST", "/v1/default/leases", {"id": "l1", "expire_seconds": 5}, "leases.create", ("default", "l1", {}, 5.0), {}),
    ("DELETE", "/v1/default/leases/l1", None, "leases.delete", ("default", "l1"), {"sync": False}),
    ("DELETE", "/v1/default/leases/l1?sync=true", None, "leases.delete", ("default", "l1"), {"sync": True}),
    ("GET", "/v1/default/leases/l1", None, "leases.get", ("default", "l1"), {}),
    ("GET", "/v1/default/leases/l1/resources", None, "leases.resources", ("default", "l1"), {}),
    ("POST", "/v1/default/leases/l1/resources", {"type": "images", "id": "a"}, "leases.add_resource", ("default", "l1", LeaseResource("images", "a")), {}),
    ("DELETE", "/v1/default/leases/l1/resources/snapshots%2Foverlayfs/a%2Fb", None, "leases.remove_resource", ("default", "l1", LeaseResource("snapshots/overlayfs", "a/b")), {}),
    ("GET", "/v1/content/scrub", None, "scrub.status", (), {}),
    ("POST", "/v1/content/scrub?namespace=team&keep_orphans=true", None, "scrub.scrub", ("team",), {"keep_orphans": True}),
    ("POST", "/v1/content/scrub", None, "scrub.scrub", ("",), {"keep_orphans": False}),
    ("GET", "/v1/content/quarantine", None, "scrub.quarantined", (), {}),
    ("POST", f"/v1/content/quarantine/{DIGEST}/fetch", None, "scrub.fetch", (DIGEST,), {}),
    ("DELETE", f"/v1/content/quarantine/{DIGEST}?force=true", None, "scrub.release", (DIGEST,), {"force": True}),
    ("GET", f"/v1/default/content/{DIGEST}/check", None, "scrub.check_of", ("default", DIGEST), {}),
    ("GET", "/v1/namespaces/default/usage?active=true", None, "usage.of", ("default",), {"active": True}),
    ("GET", "/v1/default/events?since=3&limit=10", None, "events.page", ("default", 3, (), 10), {}),
    ("GET", "/v1/events", None, "events.page", (None, None, (), 1000), {}),
    ("GET", "/v1/events?since=3&wait=2", None, "events.next_page", (None, 3, (), 1000, 2.0), {}),
    ("POST", "/v1/gc?dry_run=true", None, "gc.collect", (), {"dry_run": True}),
    ("GET", "/v1/default/gc/explain?object=container%2Fweb", None, "gc.explain", ("default", "container/web"), {}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target", "body", "called", "args", "kwargs"), ROWS)
async def test_row(
    server: Server, method: str, target: str, body: Any, called: str, args: Any, kwargs: Any
) -> None:
    answer = await server.request(method, target, body)
    assert answer.status == (
        201 if method == "POST" and target.endswith(("/containers", "/leases", "/execs")) else 200
    ), answer.body
    got_args, got_kwargs = server.world.last(called)
    assert got_args == args
    assert {key: got_kwargs[key] for key in kwargs} == kwargs
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("method", "target", "body", "called", "args", "kwargs"), ROWS)
async def test_row_maps_errors(
    server: Server, method: str, target: str, body: Any, called: str, args: Any, kwargs: Any
) -> None:
    server.world.failures[called] = NotFound("it is gone", why="so it is", hint="make it")
    answer = await server.request(method, target, body)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "NotFound"
    assert answer.json()["hint"] == "make it"


@pytest.mark.parametrize("code", sorted(BY_CODE))
async def test_every_error_class_has_its_status(server: Server, code: str) -> None:
    error = BY_CODE[code]("no", detail={"deep": [1]})
    server.world.failures["tasks.start"] = error
    answer = await server.request("POST", f"{C}/start")
    assert answer.status == error.http
    assert answer.json()["code"] == code
    assert answer.json()["details"] == {"detail": {"deep": [1]}}


async def test_unforeseen_exception_is_a_problem_without_its_text(server: Server) -> None:
    server.world.failures["tasks.start"] = RuntimeError("secret path /x")
    answer = await server.request("POST", f"{C}/start")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body


async def test_lists_have_items_and_cursor(server: Server) -> None:
    answer = (await server.request("GET", "/v1/default/containers")).json()
    assert [item["id"] for item in answer["items"]] == ["web"]
    assert answer["cursor"] is None
    assert answer["items"][0]["created_at"] == "2026-01-31T12:00:00Z"


async def test_snapshots_hide_the_directory(server: Server) -> None:
    for target in ("/v1/default/snapshots", "/v1/default/snapshots/overlay/k"):
        assert b"secret-directory" not in (await server.request("GET", target)).body


async def test_blob_data(server: Server) -> None:
    target = f"/v1/default/content/{DIGEST}/data"
    answer = await server.request("GET", target)
    assert answer.body == BLOB
    assert answer.headers["content-type"] == "application/octet-stream"
    head = await server.request("HEAD", target)
    assert head.body == b""
    assert head.headers["content-length"] == str(len(BLOB))


async def test_blob_whose_bytes_are_missing(server: Server) -> None:
    target = f"/v1/default/content/{DIGEST}/data"
    path = server.world.services.content._answers["open"][0]
    server.world.services.content._answers["open"] = (path, len(BLOB) + 1)
    client = await server.connect()
    await client.send("GET", target)
    assert len((await client.rest()).partition(b"\r\n\r\n")[2]) == len(
        BLOB
    )  # cut off, seen as such by its length
    server.world.services.content._answers["open"] = (path + "x", 1)
    answer = await server.request("GET", target)
    assert (answer.status, answer.json()["code"]) == (500, "DataLoss")


async def test_operations(server: Server) -> None:
    accepted = await server.request(
        "PUT", "/v1/default/images", {"reference": "redis"}, {"Prefer": "respond-async, wait=5"}
    )
    assert accepted.status == 202
    place = accepted.headers["location"]
    view = (await server.request("GET", place)).json()
    assert view["id"] == accepted.json()["id"]
    assert view["object"] == "redis"
    listed = (await server.request("GET", "/v1/default/operations")).json()["items"]
    assert [item["id"] for item in listed] == [view["id"]]
    lines = (await server.request("GET", f"{place}/progress")).lines()
    assert lines[-1]["phase"] == "downloading"
    assert (await server.request("DELETE", place)).status == 200
    assert (await server.request("GET", f"{place}x")).status == 404
    assert (await server.request("GET", place.replace("default", "other"))).status == 404


async def test_events_follow_and_lost(server: Server) -> None:
    from tricorn.service.records import Lost

    server.world.stream_items = [Lost(4), EVENT, EVENT]
    answer = await server.request("GET", "/v1/default/events?follow=true&since=1&filter=x&limit=1")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [line.get("lost", line.get("sequence")) for line in answer.lines()] == [4, 7]
    assert server.world.last("stream")[0] == ("default", 1, ("x",))
    assert server.world.left == ["stream"]  # closed, although it had more
    page = await server.request("GET", "/v1/events", headers={"Accept": "application/x-ndjson"})
    assert [line["sequence"] for line in page.lines()] == [7]


async def test_logs(server: Server) -> None:
    server.world.stream_items = [LOG, LOG]
    answer = await server.request("GET", f"{C}/logs?tail=2&since=2026-01-31T12:00:00Z")
    assert [line["text"] for line in answer.lines()] == ["hello", "hello"]
    assert server.world.last("stream")[1]["tail"] == 2
    assert server.world.last("stream")[1]["since"].isoformat() == "2026-01-31T12:00:00+00:00"


async def test_health_and_readiness(server: Server) -> None:
    assert (await server.request("GET", "/healthz")).json() == {"status": "ok"}
    server.world.ready = False
    assert (await server.request("GET", "/healthz")).status == 503
    assert (await server.request("GET", "/v1/default/containers")).status == 503
    assert (await server.request("GET", "/v1/version")).status == 200


async def test_metrics(server: Server) -> None:
    await server.request("GET", "/v1/version")
    await server.request("GET", "/v1/nothing/here")
    text = (await server.request("GET", "/metrics")).body.decode()
    assert 'tricorn_http_requests_total{code="200",method="GET",route="/v1/version"} 1.0' in text
    assert 'route="unmatched"' in text
    assert "/v1/nothing" not in text
    assert 'tricorn_containers{state="running"} 2.0' in text
    assert 'tricorn_statistic{name="deep.er"} 3.0' in text
    assert "tricorn_content_bytes 5.0" in text
    assert 'tricorn_statistic{name="http.connections"} 1.0' in text
    assert "process_open_fds" in text
