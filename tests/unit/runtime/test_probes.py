"""Probes that come to nothing: an answer in words, whatever the other side does."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest
import trio

from tricorn.rules.health import Target
from tricorn.runtime.probes import probe

pytestmark = pytest.mark.root


async def served(path: str, serve: Callable[[trio.SocketStream], Awaitable[None]]) -> str | None:
    """Probe a server that treats its client so."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        with trio.fail_after(30):
            found = await probe(os.getpid(), Target("127.0.0.1", port, path))
        nursery.cancel_scope.cancel()
    return found


async def reset(stream: trio.SocketStream) -> None:
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


async def hang_up(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.aclose()


async def babble(stream: trio.SocketStream) -> None:
    await stream.send_all(b"220 this is no HTTP\r\n\r\n")


async def refuse(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("serve", "words"),
    [(reset, "127.0.0.1"), (hang_up, "GET /ready"), (babble, "GET /ready"), (refuse, "answered with 503")],
    ids=["reset", "hang_up", "babble", "refuse"],
)
async def test_what_does_not_answer_well_is_told(
    serve: Callable[[trio.SocketStream], Awaitable[None]], words: str
) -> None:
    found = await served("/ready", serve)
    assert found is not None
    assert words in found or (serve is reset and "GET /ready" in found)  # by when the reset arrives


async def test_a_port_is_enough_for_a_connection() -> None:
    assert await served("", hang_up) is None


async def test_a_process_that_has_ended_is_told() -> None:
    found = await probe(2**22 - 1, Target("127.0.0.1", 1))
    assert found is not None
    assert "has ended" in found
