"""Sessions: what runs in a container, in both directions."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tricorn import errors
from tricorn.client import Client
from tricorn.frames import FrameKind
from tricorn.model.requests import ExecRequest
from tricorn_testing.scripted_agent import Agent, Link


async def test_an_exec_session(agent: Agent, client: Client) -> None:
    heard: list[Any] = []

    async def handler(link: Link) -> None:
        await link.switch()
        heard.append((await link.frame()).document())  # type: ignore[union-attr]
        await link.say(FrameKind.STARTED, {"pid": 42})
        while (frame := await link.frame()) is not None and frame.kind is not FrameKind.STDIN_CLOSED:
            if frame.kind is FrameKind.STDIN:
                await link.say(FrameKind.STDOUT, frame.payload.upper())
            else:
                heard.append((frame.kind, frame.document()))
        await link.say(FrameKind.STDERR, b"bye")
        await link.say(FrameKind.EXIT, {"exit_code": 3})

    agent.handlers["POST /v1/default/containers/web/exec"] = handler
    async with client.containers.exec_session("web", ExecRequest(("cat",), terminal=True)) as session:
        await session.resize(24, 80)
        await session.signal("SIGINT")
        await session.send_stdin(b"hello")
        await session.close_stdin()
        output = [tuple(piece) async for piece in session]
    assert output == [("stdout", b"HELLO"), ("stderr", b"bye")]
    assert session.pid == 42
    assert session.exit is not None
    assert session.exit.exit_code == 3
    assert heard[0]["args"] == ["cat"]
    assert heard[1:] == [
        (FrameKind.RESIZE, {"rows": 24, "columns": 80}),
        (FrameKind.SIGNAL, {"signal": "SIGINT"}),
    ]


async def test_much_in_both_directions(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.switch()
        while (frame := await link.frame()) is not None and frame.kind is FrameKind.STDIN:
            await link.say(FrameKind.STDOUT, frame.payload)
        await link.say(FrameKind.EXIT, {"exit_code": 0})

    agent.handlers["GET /v1/default/containers/web/attach?start=true"] = handler
    data, got = bytes(range(256)) * 20_000, bytearray()
    async with client.containers.attach("web", start=True) as session:

        async def feed() -> None:
            await session.send_stdin(data)
            await session.close_stdin()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed)
            async for piece in session:
                got += piece.data
    assert got == data


async def test_a_session_that_fails(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.switch()
        await link.say(FrameKind.ERROR, errors.NotFound("no such program").problem())

    agent.handlers["GET /v1/default/containers/web/attach"] = handler
    with pytest.raises(errors.NotFound, match="no such program"):
        async with client.containers.attach("web") as session:
            await session.wait()


async def test_a_session_that_breaks(agent: Agent, client: Client) -> None:
    async def handler(link: Link) -> None:
        await link.switch()
        await link.say(FrameKind.STARTED, {"pid": 1})

    agent.handlers["GET /v1/default/containers/web/attach"] = handler
    async with client.containers.attach("web") as session:
        with pytest.raises(errors.Unavailable):
            await session.wait()


async def test_a_refused_upgrade(agent: Agent, client: Client) -> None:
    agent.answer("GET /v1/default/containers/web/attach", errors.NotFound("no web").problem(), 404)
    with pytest.raises(errors.NotFound, match="no web"):
        async with client.containers.attach("web"):
            pass
    agent.answer("GET /v1/default/containers/web/attach", {})
    with pytest.raises(errors.Unavailable, match="switch protocols"):
        async with client.containers.attach("web"):
            pass


async def test_a_send_cut_short_breaks_the_session(agent: Agent, client: Client) -> None:
    left = trio.Event()

    async def handler(link: Link) -> None:
        await link.switch()
        await left.wait()

    agent.handlers["GET /v1/default/containers/web/attach"] = handler
    async with client.containers.attach("web") as session:
        with trio.move_on_after(0.1) as scope:
            await session.send_stdin(b"x" * 10_000_000)
        assert scope.cancelled_caught
        with pytest.raises(errors.Unavailable, match="broken"):
            await session.close_stdin()
        left.set()


async def test_leaving_detaches(agent: Agent, client: Client) -> None:
    left = trio.Event()

    async def handler(link: Link) -> None:
        await link.switch()
        assert await link.frame() is None
        left.set()

    agent.handlers["GET /v1/default/containers/web/attach"] = handler
    async with client.containers.attach("web"):
        pass
    await left.wait()
