"""Each call of the client, by what it sends and what it makes of the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import h11
import pytest

from tricorn.client import Client
from tricorn.model.records import Lease, SnapshotKind
from tricorn.model.requests import (
    ArchiveExport,
    ArchiveImport,
    Change,
    ContainerDesired,
    ContainerView,
    ExecRequest,
    ImageDesired,
    ImagePush,
    ImageTags,
    LeaseDesired,
    Mount,
    Resources,
    SnapshotDesired,
)
from tricorn_testing.scripted_agent import DIGEST, NOW, Agent, Link, view


async def test_values_are_the_models(agent: Agent, client: Client) -> None:
    task = {"status": "running", "pid": 7, "started_at": NOW}
    agent.answer(
        "GET /v1/default/containers?all=true", {"items": [view(task=task, new_field=1)], "cursor": None}
    )
    (found,) = await client.containers.list()
    assert isinstance(found, ContainerView)
    assert found.task is not None
    assert found.task.status == "running"
    assert found.task.started_at == datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)


async def test_requests_hold_the_whole_value(agent: Agent, client: Client) -> None:
    agent.answer(
        "PUT /v1/default/containers/web?plan=true",
        {"changed": True, "actions": [{"verb": "pull", "object": "a"}]},
    )
    desired = ContainerDesired(image="a", args=("x",), mounts=(Mount("/t"),), resources=Resources(memory=5))
    change = await client.containers.put("web", desired, plan=True)
    assert isinstance(change, Change)
    assert change.actions[0].verb == "pull"
    (body,) = agent.bodies
    assert body["mounts"] == [{"target": "/t", "source": "", "type": "bind", "options": []}]
    assert body["resources"]["memory"] == 5
    assert body["args"] == ["x"]
    from tricorn.structuring import structure

    assert structure(body, ContainerDesired) == desired


async def test_every_row(agent: Agent, client: Client) -> None:
    """Each method asks for its row of the API and understands the answer."""
    ns = {"name": "a"}
    image = {"name": "a", "digest": DIGEST, "media_type": "m", "size": 1}
    blob = {"digest": DIGEST, "size": 3}
    snapshot = {"snapshotter": "overlay", "key": "k", "kind": "active", "backend_id": "1"}
    operation = {"id": "1", "namespace": "default", "kind": "pull", "object": "a", "state": "running"}
    report, explanation = {"dry_run": True}, {"object": "image/a", "kept": True, "chain": ["image/a"]}
    changed, coded = {"changed": True}, DIGEST.replace(":", "%3A")
    desired = ImageDesired("a")
    answered = {"reference": "a", "allowed": True, "rule": "", "reason": "there is no image policy"}
    rows: list[tuple[str, Any, Callable[[], Awaitable[Any]]]] = [
        ("GET /healthz", {"status": "ok"}, client.healthy),
        ("GET /v1/version", {"version": "1"}, client.version),
        ("GET /v1/info", {"version": "1"}, client.info),
        ("POST /v1/gc?dry_run=true", report, lambda: client.collect(dry_run=True)),
        ("GET /v1/default/gc/explain?object=image%2Fa", explanation, lambda: client.explain("image/a")),
        ("GET /v1/namespaces", {"items": [ns]}, client.namespaces.list),
        ("GET /v1/namespaces/a", ns, lambda: client.namespaces.get("a")),
        ("PUT /v1/namespaces/a", changed, lambda: client.namespaces.put("a")),
        ("PATCH /v1/namespaces/a", ns, lambda: client.namespaces.update("a", {"x": ""})),
        ("DELETE /v1/namespaces/a", changed, lambda: client.namespaces.delete("a")),
        ("GET /v1/default/images", {"items": [image]}, client.images.list),
        ("GET /v1/default/images/a%2Fb", image, lambda: client.images.get("a/b")),
        ("PUT /v1/default/images", changed, lambda: client.images.put(desired)),
        (
            "PUT /v1/default/images/a/tags?plan=true",
            changed,
            lambda: client.images.tagged("a", ImageTags(("b",)), plan=True),
        ),
        ("PUT /v1/default/images/a/push", changed, lambda: client.images.pushed("a", ImagePush("b"))),
        ("PUT /v1/default/archive/export", changed, lambda: client.images.exported(ArchiveExport("/a", ("a",)))),
        ("PUT /v1/default/archive/import", changed, lambda: client.images.imported(ArchiveImport("/a"))),
        (
            "PUT /v1/default/snapshots/overlayfs/a?plan=true",
            changed,
            lambda: client.snapshots.put("overlayfs", "a", SnapshotDesired(), plan=True),
        ),
        ("PUT /v1/default/leases/keep", changed, lambda: client.leases.put("keep", LeaseDesired())),
        ("PUT /v1/default/images", operation, lambda: client.images.begin(desired)),
        ("DELETE /v1/default/images/a?sync=true", changed, lambda: client.images.delete("a", sync=True)),
        ("GET /v1/default/containers/web", view(), lambda: client.containers.get("web")),
        ("POST /v1/default/containers", view(), lambda: client.containers.create(ContainerDesired("a"), name="web")),
        ("PUT /v1/default/containers/web", operation, lambda: client.containers.begin("web", ContainerDesired("a"))),
        ("DELETE /v1/default/containers/web?force=true", changed, lambda: client.containers.delete("web", force=True)),
        ("POST /v1/default/containers/web/start", view(), lambda: client.containers.start("web")),
        ("POST /v1/default/containers/web/stop", view(), lambda: client.containers.stop("web", timeout=1)),
        ("POST /v1/default/containers/web/restart", view(), lambda: client.containers.restart("web")),
        ("POST /v1/default/containers/web/pause", view(), lambda: client.containers.pause("web")),
        ("POST /v1/default/containers/web/resume", view(), lambda: client.containers.resume("web")),
        ("POST /v1/default/containers/web/kill", {}, lambda: client.containers.kill("web")),
        ("POST /v1/default/containers/web/resize", {}, lambda: client.containers.resize("web", 1, 2)),
        ("GET /v1/default/containers/web/wait?condition=stopped", {"exit_code": 1}, lambda: client.containers.wait("web")),
        ("POST /v1/default/containers/web/exec", {"exit_code": 1}, lambda: client.containers.exec("web", ExecRequest(("a",)))),
        ("GET /v1/default/containers/web/stats", {"pids": 1}, lambda: client.containers.stats("web")),
        ("GET /v1/default/containers/web/pids", {"pids": [1, 2]}, lambda: client.containers.pids("web")),
        ("GET /v1/default/content", {"items": [blob]}, client.content.list),
        (f"GET /v1/default/content/{coded}", blob, lambda: client.content.get(DIGEST)),
        (f"DELETE /v1/default/content/{coded}", {}, lambda: client.content.delete(DIGEST)),
        ("GET /v1/default/snapshots?snapshotter=overlay", {"items": [snapshot]}, lambda: client.snapshots.list("overlay")),
        ("GET /v1/default/snapshots/overlay/k", snapshot, lambda: client.snapshots.get("overlay", "k")),
        ("DELETE /v1/default/snapshots/overlay/k", {}, lambda: client.snapshots.delete("overlay", "k")),
        ("GET /v1/default/leases", {"items": [{"id": "l"}]}, client.leases.list),
        ("POST /v1/default/leases", {"id": "l"}, lambda: client.leases.create("l", expire_seconds=1)),
        ("DELETE /v1/default/leases/l", {}, lambda: client.leases.delete("l")),
        ("GET /v1/default/operations", {"items": [operation]}, client.operations.list),
        ("GET /v1/default/operations/1", operation, lambda: client.operations.get("1")),
        ("DELETE /v1/default/operations/1", {}, lambda: client.operations.cancel("1")),
        ("GET /v1/policy", {"state": "off"}, client.policy.view),
        ("POST /v1/default/policy/check", answered, lambda: client.policy.check("a")),
    ]  # fmt: skip
    answers = []
    for line, answer, method in rows:
        agent.answer(line, answer)
        answers.append(await method())
    assert agent.lines == [line for line, _, _ in rows]
    assert agent.connections == 1
    by_line = dict(zip(agent.lines, answers, strict=True))
    assert by_line["GET /v1/default/containers/web/pids"] == [1, 2]
    assert by_line["POST /v1/default/leases"] == Lease("l")
    assert by_line["GET /v1/default/snapshots/overlay/k"].kind is SnapshotKind.ACTIVE
    assert type(by_line[f"GET /v1/default/content/{coded}"].digest).__name__ == "Digest"


async def test_metrics_are_text(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.begin()
        await link.send(h11.Data(data=b"# HELP x\nx 1\n"))
        await link.finish()

    agent.handlers["GET /metrics"] = handler
    assert await client.metrics() == "# HELP x\nx 1\n"


async def test_another_namespace_over_the_same_connections(agent: Agent, client: Client) -> None:
    agent.answer("GET /v1/default/leases", {"items": []})
    agent.answer("GET /v1/build/leases", {"items": []})
    await client.leases.list()
    await client.within("build").leases.list()
    assert agent.connections == 1


async def test_the_environment_names_the_agent(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICORN_SOCKET", agent.path)
    monkeypatch.setenv("TRICORN_NAMESPACE", "build")
    agent.answer("GET /v1/build/leases", {"items": []})
    async with Client() as client:
        assert await client.leases.list() == []
