"""Arbitrary bytes on the API's socket: the server lives on, and no task or connection stays behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tricorn import limits
from tricorn.api.http.connection import Connection
from tricorn.api.http.site import HttpApi
from tricorn.api.metrics import Metrics
from tricorn.frames import FrameKind, encode
from tricorn.rules.authorise import Authoriser, Peer
from tricorn_testing.api import Clock, World

LINES = [
    b"GET /v1/version HTTP/1.1\r\n", b"GET /v1/default/containers?all=%ff HTTP/1.1\r\n", b"Host: t\r\n",
    b"PUT /v1/default/containers/web HTTP/1.1\r\n", b"POST /v1/default/containers/web/exec HTTP/1.1\r\n",
    b"Connection: Upgrade\r\n", b"Upgrade: tricorn-stdio/1\r\n", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"\r\n", b"\r\n\r\n",
    b"5\r\nhello\r\n", b"0\r\n\r\n", b'{"image":"r"}', b"HEAD * HTTP/1.0\r\n", b"OPTIONS * HTTP/1.1\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00", b"\xff" * 9, b"a" * 70_000,
    encode(FrameKind.EXEC, b'{"args":["a"]}'), encode(FrameKind.STDIN, b"x"), encode(FrameKind.STDIN_CLOSED),
    b"GET /v1/events?follow=true HTTP/1.1\r\n", b"Accept: application/x-ndjson\r\n", b"Prefer: respond-async\r\n",
]  # fmt: skip
PIECES = st.lists(st.one_of(st.sampled_from(LINES), st.binary(max_size=40)), max_size=12)
SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


async def converse(pieces: list[bytes], close: bool) -> None:
    """Send the pieces to a server of its own, read what comes, and check that all ends."""
    from tricorn.service.operations import OperationService

    async with OperationService.open(Clock()) as operations, trio.open_nursery() as nursery:
        world = World(operations, "/dev/null")
        api = HttpApi(
            world.services,
            authoriser=Authoriser(),
            metrics=Metrics(dict, version="0"),
            ready=lambda: True,
            version="0",
        )
        client, server = trio.testing.memory_stream_pair()
        nursery.start_soon(api.serve_connection, server, Peer(1, 0, 0), b"")
        nursery.start_soon(_drain, client)
        with trio.move_on_after(1):
            for piece in pieces:
                await _send(client, piece)
        if close:
            await client.aclose()
        else:
            await client.send_stream.aclose()
        with trio.fail_after(60):
            while api.statistics()["connections"]:  # noqa: ASYNC110 - seen from outside
                await trio.sleep(0.05)
        assert not any(isinstance(item, Connection) for item in api._connections)
        nursery.cancel_scope.cancel()


async def _send(
    client: trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream], data: bytes
) -> None:
    try:
        await client.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


async def _drain(client: trio.abc.ReceiveStream) -> None:
    try:
        while await client.receive_some(65536):
            pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        await work()
        assert trio.lowlevel.current_statistics().tasks_living == before

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@given(PIECES, st.booleans())
@SETTINGS
def test_fragments_of_http(pieces: list[bytes], close: bool) -> None:
    run(lambda: converse(pieces, close))


@given(st.binary(max_size=200), st.booleans())
@SETTINGS
def test_any_bytes(data: bytes, close: bool) -> None:
    run(lambda: converse([data], close))


@given(st.lists(st.binary(max_size=30), max_size=6))
@SETTINGS
def test_any_frames(payloads: list[bytes]) -> None:
    head = (
        b"POST /v1/default/containers/web/exec HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\n"
        b"Upgrade: tricorn-stdio/1\r\nContent-Length: 0\r\n\r\n"
    )
    run(lambda: converse([head, encode(FrameKind.EXEC, b'{"args":["a"]}'), *payloads], close=True))


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
def test_any_cut_of_one_request(size: int) -> None:
    body = b'{"image": "' + b"r" * 5000 + b'"}'
    wire = (
        b"PUT /v1/default/containers/web HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    assert len(wire) < limits.HTTP_HEADERS
    run(lambda: converse([wire[start : start + size] for start in range(0, len(wire), size)], close=False))
