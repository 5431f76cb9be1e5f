"""Errors, connections that end, calls side by side, and calls that are given up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h11
import pytest
import trio
import trio.testing

from tricorn import errors
from tricorn.client import Client
from tricorn.model.requests import ImageDesired
from tricorn_testing.scripted_agent import Agent, Link


async def test_errors_are_rebuilt(agent: Agent, client: Client) -> None:
    error = errors.FailedPrecondition("snapshot x has children", hint="remove a, b", children=["a", "b"])
    agent.answer("DELETE /v1/default/snapshots/overlay/x", error.problem(), 412)
    with pytest.raises(errors.FailedPrecondition, match="has children") as caught:
        await client.snapshots.delete("overlay", "x")
    assert caught.value.details == {"children": ["a", "b"]}
    agent.answer("GET /v1/default/leases", {"items": []})
    await client.leases.list()
    assert agent.connections == 1


async def test_nobody_listens(tmp_path: Path) -> None:
    async with Client(str(tmp_path / "nobody")) as client:
        with pytest.raises(errors.Unavailable, match="is tricornd running"):
            await client.version()


@pytest.mark.parametrize("answer", [{"items": [{"id": 5}]}, {"items": 1}, [], "x", None])
async def test_an_answer_that_does_not_fit(agent: Agent, client: Client, answer: Any) -> None:
    agent.answer("GET /v1/default/leases", answer)
    with pytest.raises(errors.Internal):
        await client.leases.list()


async def test_an_agent_that_closes_in_the_middle(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.begin()
        await link.lines({"half": 1})

    agent.handlers["GET /v1/version"] = handler
    with pytest.raises(errors.Unavailable, match="closed the connection"):
        await client.version()


async def test_an_idle_connection_that_the_agent_closed_is_replaced(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.send(
            h11.Response(status_code=200, headers=[("Content-Length", "2")]),
            h11.Data(data=b"{}"),
            h11.EndOfMessage(),
        )
        await link.stream.aclose()

    agent.handlers["POST /v1/default/containers/web/kill"] = handler
    for _ in range(3):
        await client.containers.kill("web")
        await trio.testing.wait_all_tasks_blocked()
    assert agent.connections == 3


async def test_a_closed_client(agent: Agent) -> None:
    client = Client(agent.path)
    async with client:
        pass
    with pytest.raises(errors.Unavailable, match="client is closed"):
        await client.version()


async def test_calls_side_by_side(agent: Agent, client: Client) -> None:
    go = trio.Event()

    async def handler(link: Link) -> None:
        await go.wait()
        await link.answer({"exit_code": 0})

    agent.handlers["GET /v1/default/containers/web/wait?condition=stopped"] = handler
    agent.answer("GET /v1/version", {"version": "1"})
    async with trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(client.containers.wait, "web")
        await trio.testing.wait_all_tasks_blocked()
        await client.version()
        go.set()
    assert agent.connections == 13
    for _ in range(9):
        await client.version()
    assert agent.connections == 13


async def test_cancelling_a_call_closes_its_connection(agent: Agent, client: Client) -> None:
    left = trio.Event()

    async def handler(link: Link) -> None:
        await link.gone()
        left.set()

    agent.handlers["PUT /v1/default/images"] = handler
    with trio.move_on_after(0.1) as scope:
        await client.images.put(ImageDesired("a"))
    assert scope.cancelled_caught
    await left.wait()
    agent.answer("GET /v1/version", {"version": "1"})
    await client.version()
    assert agent.connections == 2
