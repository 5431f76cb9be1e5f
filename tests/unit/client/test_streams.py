"""Long work with its progress, logs, events and blobs."""

from __future__ import annotations

from typing import Any

import h11
import pytest
import trio
import trio.testing

from tricorn import errors
from tricorn.client import Client
from tricorn.client.api import Lost
from tricorn.model.records import Event
from tricorn.model.requests import ContainerDesired, ImageDesired
from tricorn_testing.scripted_agent import DIGEST, NOW, Agent, Link


def progress(phase: str) -> dict[str, Any]:
    objects = [{"digest": DIGEST, "kind": "layer", "phase": "download", "total": 5, "offset": 2}]
    return {"progress": {"operation": "1", "phase": phase, "objects": objects, "eta": None}}


async def test_work(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        assert link.headers["accept"] == "application/x-ndjson"
        await link.begin()
        await link.lines(progress("resolving"))
        await link.lines(progress("fetching"), {"result": {"changed": True}})
        await link.finish()

    agent.handlers["PUT /v1/default/images"] = handler
    async with client.images.work(ImageDesired("a")) as work:
        with pytest.raises(errors.FailedPrecondition, match="under way"):
            _ = work.result
        phases = [(item.phase, item.objects[0].offset) async for item in work]
        assert work.result.changed
        assert work.objects[DIGEST].phase == "download"
    assert phases == [("resolving", 2), ("fetching", 2)]
    async with client.images.work(ImageDesired("a")) as work:
        assert (await work.wait()).changed
        assert (await work.wait()).changed
    assert agent.connections == 1


async def test_work_that_fails(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.begin()
        await link.lines(progress("fetching"), {"error": errors.DataLoss("digest mismatch").problem()})
        await link.finish()

    agent.handlers["POST /v1/default/containers"] = handler
    with pytest.raises(errors.DataLoss, match="digest mismatch"):
        async with client.containers.create_work(ContainerDesired("a")) as work:
            await work.wait()


async def test_work_without_an_end(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.begin()
        await link.lines(progress("fetching"))
        await link.finish()

    agent.handlers["PUT /v1/default/containers/web"] = handler
    with pytest.raises(errors.Unavailable):
        async with client.containers.put_work("web", ContainerDesired("a")) as work:
            await work.wait()


async def test_leaving_work_cancels_it(agent: Agent, client: Client) -> None:
    left = trio.Event()

    async def handler(link: Link) -> None:
        await link.begin()
        await link.lines(progress("fetching"))
        await link.gone()
        left.set()

    agent.handlers["PUT /v1/default/images"] = handler
    async with client.images.work(ImageDesired("a")) as work:
        async for _ in work:
            break
    await left.wait()


async def test_logs(agent: Agent, client: Client) -> None:
    more = trio.Event()

    async def handler(link: Link) -> None:
        await link.begin()
        await link.lines({"timestamp": NOW, "stream": "stdout", "text": "one"})
        await more.wait()
        await link.lines(
            {"timestamp": NOW, "stream": "stderr", "text": "two"},
            {"error": errors.NotFound("log gone").problem()},
        )
        await link.finish()

    agent.handlers["GET /v1/default/containers/web/logs?follow=true&tail=5"] = handler
    async with client.containers.logs("web", follow=True, tail=5) as lines:
        assert (await anext(lines)).text == "one"
        more.set()
        assert (await anext(lines)).stream == "stderr"
        with pytest.raises(errors.NotFound, match="log gone"):
            await anext(lines)


async def test_events(agent: Agent, client: Client) -> None:
    raw = {
        "sequence": 4,
        "timestamp": NOW,
        "namespace": "default",
        "topic": "/tasks/exit",
        "event": {"id": "web"},
    }

    async def handler(link: Link) -> None:
        await link.begin()
        await link.lines({"lost": 3}, raw)
        await link.finish()

    agent.handlers["GET /v1/events?since=1&follow=true"] = handler
    agent.answer("GET /v1/default/events?since=1&limit=10", {"items": [raw], "cursor": 4, "lost": 3})
    async with client.follow(since=1, everywhere=True) as events:
        found = [event async for event in events]
    assert isinstance(found[0], Lost)
    assert found[0] == 3
    assert isinstance(found[1], Event)
    items, cursor, lost = await client.events(since=1, limit=10)
    assert ([item.sequence for item in items], cursor, lost) == ([4], 4, 3)


async def test_progress_of_an_operation(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.begin()
        await link.lines(progress("a"), progress("b")["progress"])
        await link.finish()

    agent.handlers["GET /v1/default/operations/1/progress"] = handler
    async with client.operations.progress("1") as lines:
        assert [item.phase async for item in lines] == ["a", "b"]


async def test_a_blob(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.begin()
        for _ in range(20):
            await link.send(h11.Data(data=b"x" * 100_000))
        await link.finish()

    agent.handlers[f"GET /v1/default/content/{DIGEST.replace(':', '%3A')}/data"] = handler
    async with client.content.open(DIGEST) as chunks:
        assert sum([len(chunk) async for chunk in chunks]) == 2_000_000
