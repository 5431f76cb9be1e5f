"""Life of a connection: keep-alive, pipelining, slowness, leaving, and the agent's stop."""

from __future__ import annotations

import gc
import os
import re
import socket

import pytest
import trio
import trio.testing

from tricorn import limits
from tricorn.api.http import inbox as inboxes
from tricorn.errors import Unavailable
from tricorn_testing.api import LOG, Server

C = "/v1/default/containers/web"
GET = b"GET /v1/version HTTP/1.1\r\nHost: t\r\n\r\n"


async def test_keep_alive(server: Server) -> None:
    client = await server.connect()
    for _ in range(50):
        assert (await client.request("GET", "/v1/version")).status == 200
    assert (await client.request("PUT", C, {"image": 1})).status == 400
    assert (await client.request("GET", "/nope")).status == 404
    assert (await client.request("GET", "/v1/version?x=1")).status == 400
    assert (await client.request("GET", "/v1/version")).status == 200
    assert server.listener.statistics()["connections_accepted"] == 1


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    client = await server.connect()
    await client.stream.send_all(
        GET + GET.replace(b"version", b"nothing") + GET.replace(b"Host", b"Connection: close\r\nHost")
    )
    data = await client.rest()
    assert re.findall(rb"HTTP/1.1 (\d+)", data) == [b"200", b"404", b"200"]


async def test_a_flood_of_pipelined_requests_does_not_stop_the_loop(server: Server) -> None:
    client, other = await server.connect(), await server.connect()
    answered = b""

    async def read() -> None:
        nonlocal answered
        answered = await client.rest()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            client.stream.send_all, GET * 3000 + GET.replace(b"Host", b"Connection: close\r\nHost")
        )
        nursery.start_soon(read)
        for _ in range(20):
            await other.request("GET", "/v1/version")
        assert not answered, "another client's requests waited for the end of the flood"
    assert answered.count(b"HTTP/1.1 200 OK") == 3001


async def test_http10_closes(server: Server) -> None:
    client = await server.connect()
    await client.stream.send_all(b"GET /v1/version HTTP/1.0\r\n\r\n")
    assert b"200 OK" in await client.rest()


async def test_half_closed_client_still_gets_its_answer(server: Server) -> None:
    server.world.gates["node.version"] = gate = trio.Event()
    client = await server.connect()
    await client.stream.send_all(GET)
    await client.stream.send_eof()
    await trio.testing.wait_all_tasks_blocked(0.05)
    gate.set()
    assert b"200 OK" in await client.rest()


async def test_expect_continue(server: Server) -> None:
    client = await server.connect()
    body = b'{"image": "redis"}'
    head = f"PUT {C} HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    await client.stream.send_all(head.encode())
    with trio.fail_after(60):
        assert bytes(await client.stream.receive_some()).startswith(b"HTTP/1.1 100 ")
    await client.stream.send_all(body)
    with trio.fail_after(60):
        assert bytes(await client.stream.receive_some()).startswith(b"HTTP/1.1 200 ")


async def test_body_of_a_refused_request_does_not_become_a_request(server: Server) -> None:
    client = await server.connect()
    smuggled = b"DELETE " + C.encode() + b" HTTP/1.1\r\nHost: t\r\n\r\n"
    await client.stream.send_all(
        b"POST /nope HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(smuggled) + smuggled + GET
    )
    with trio.move_on_after(0.3):
        await client.rest()
    assert not any(name == "containers.delete" for name, _, _ in server.world.calls)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x00\x01\x02\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTPS/1.1\r\n\r\n", 400),
        (b"GET /v1/version HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /v1/version HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: x\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: t\r\nX: " + b"a" * (3 * limits.HTTP_HEADERS) + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * (limits.HTTP_HEADERS + 100), 431),
        (b"PUT %b HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" % C.encode(), 400),
    ],
)
async def test_malformed(server: Server, data: bytes, status: int) -> None:
    client = await server.connect()
    await client.stream.send_all(data)
    answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"problem+json" in answer
    assert server.world.calls == []


async def test_truncated_body_never_reaches_the_handler(server: Server) -> None:
    client = await server.connect()
    await client.stream.send_all(
        f'PUT {C} HTTP/1.1\r\nHost: t\r\nContent-Length: 30\r\n\r\n{{"image": "x"}}'.encode()
    )
    await client.stream.send_eof()
    assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
    assert server.world.calls == []


@pytest.mark.parametrize("data", [b"GET /v1/version HTTP/1.1\r\nHost", b"GET"])
async def test_slow_header(server: Server, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(limits, "HTTP_HEAD_TIMEOUT", 0.1)
    client = await server.connect()
    await client.stream.send_all(data)
    assert (await client.rest()).startswith(b"HTTP/1.1 408 ")


async def test_client_that_says_nothing_is_closed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_HEAD_TIMEOUT", 0.1)
    for data in (b"", b"P"):
        client = await server.connect()
        await client.stream.send_all(data)
        assert await client.rest() == b""


async def test_slow_body(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_BODY_TIMEOUT", 0.1)
    client = await server.connect()
    await client.stream.send_all(f"PUT {C} HTTP/1.1\r\nHost: t\r\nContent-Length: 30\r\n\r\n".encode())
    assert (await client.rest()).startswith(b"HTTP/1.1 408 ")


async def test_idle_connection_is_closed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_KEEPALIVE", 0.1)
    client = await server.connect()
    await client.request("GET", "/v1/version")
    assert await client.rest() == b""


async def test_http2_is_closed_politely(server: Server) -> None:
    client = await server.connect()
    await client.stream.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert await client.rest() == b""


# ---------------------------------------------------------------- leaving
async def test_leaving_cancels_the_handler(server: Server) -> None:
    server.world.gates["tasks.wait"] = trio.Event()
    client = await server.connect()
    await client.send("GET", f"{C}/wait")
    await until(lambda: bool(server.world.calls))
    await client.stream.aclose()
    await until(lambda: server.world.cancelled == ["tasks.wait"])
    await server.quiet()


async def test_leaving_is_noticed_behind_a_full_read_ahead(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inboxes, "_HANGUP_POLL", 0.05)
    server.world.gates["tasks.wait"] = trio.Event()
    client = await server.connect()
    await client.send("GET", f"{C}/wait")
    await until(lambda: bool(server.world.calls))
    with trio.move_on_after(0.2):
        await client.stream.send_all(b"x" * 4 * limits.HTTP_READ_AHEAD)
    await client.stream.aclose()
    await until(lambda: server.world.cancelled == ["tasks.wait"])
    await server.quiet()


async def test_leaving_ends_a_stream_and_closes_its_source(server: Server) -> None:
    server.world.stream_items = [LOG]
    server.world.stream_hold = trio.Event()
    client = await server.connect()
    await client.send("GET", f"{C}/logs?follow=true")
    assert (await client.event()).status_code == 200
    assert b"hello" in bytes((await client.event()).data)
    await client.stream.aclose()
    await until(lambda: server.world.left == ["stream"])
    await server.quiet()


async def test_head_of_a_silent_stream_comes_at_once(server: Server) -> None:
    server.world.stream_hold = trio.Event()
    client = await server.connect()
    await client.send("GET", "/v1/events?follow=true")
    with trio.fail_after(60):
        assert (await client.event()).status_code == 200


async def test_error_of_a_stream_first_and_later(server: Server) -> None:
    server.world.stream_items = [Unavailable("not now")]
    answer = await server.request("GET", f"{C}/logs")
    assert (answer.status, answer.json()["code"]) == (503, "Unavailable")
    server.world.stream_items = [LOG, Unavailable("not now")]
    answer = await server.request("GET", f"{C}/logs")
    assert answer.status == 200
    assert answer.lines()[-1]["error"]["code"] == "Unavailable"


async def test_slow_reader_holds_the_source_back(server: Server) -> None:
    drawn = 0

    async def endless(*_: object, **__: object) -> object:
        nonlocal drawn
        while True:
            drawn += 1
            yield {"text": "x" * 10_000}
            await trio.lowlevel.checkpoint()

    server.world.services.tasks.logs = endless
    client = await server.connect()
    await client.send("GET", f"{C}/logs?follow=true")
    before = -1
    with trio.fail_after(60):
        while drawn != before:  # what the sockets hold is drawn, at first
            before = drawn
            await trio.sleep(0.3)
    assert drawn < 1000


async def test_a_thousand_aborted_connections_leave_nothing(server: Server) -> None:
    server.world.gates["tasks.wait"] = trio.Event()
    await server.request("GET", "/v1/version")
    await server.quiet()
    await trio.testing.wait_all_tasks_blocked()
    gc.collect()
    tasks, fds = trio.lowlevel.current_statistics().tasks_living, len(os.listdir("/proc/self/fd"))

    async def abort(number: int) -> None:
        client = await server.connect()
        data = [
            b"",
            b"G",
            GET[:30],
            GET * 3,
            f"GET {C}/wait HTTP/1.1\r\nHost: t\r\n\r\n".encode(),
            b"PRI * HTTP/2.0\r\n\r\n",
        ]
        with trio.move_on_after(1):
            await client.stream.send_all(data[number % len(data)])
        if number % 2:
            await trio.sleep(0.001)
        await trio.aclose_forcefully(client.stream)

    for start in range(0, 1000, 50):
        async with trio.open_nursery() as nursery:
            for number in range(start, start + 50):
                nursery.start_soon(abort, number)
    await server.quiet()
    await trio.testing.wait_all_tasks_blocked()
    gc.collect()
    assert trio.lowlevel.current_statistics().tasks_living <= tasks
    assert len(os.listdir("/proc/self/fd")) <= fds
    assert (await server.request("GET", "/v1/version")).status == 200


# ---------------------------------------------------------------- the agent's stop
async def test_stop_lets_busy_requests_finish(server: Server) -> None:
    server.world.gates["images.list"] = gate = trio.Event()
    busy, idle = await server.connect(), await server.connect()
    await idle.request("GET", "/v1/version")
    await busy.send("GET", "/v1/default/images")
    await until(lambda: any(name == "images.list" for name, _, _ in server.world.calls))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.listener.stop, 5.0)
        assert await idle.rest() == b""  # at once
        with pytest.raises(OSError, match="refused"):
            await server.connect()
        gate.set()
        answer = await busy.receive()
        assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_stop_tells_those_it_cuts_off(server: Server) -> None:
    server.world.gates["images.list"] = trio.Event()
    busy = await server.connect()
    await busy.send("GET", "/v1/default/images")
    await until(lambda: bool(server.world.calls))
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.listener.stop, 0.2)
        answer = await busy.receive()
    assert (answer.status, answer.json()["code"]) == (503, "Unavailable")
    assert server.world.cancelled == ["images.list"]
    assert trio.current_time() - began < 30


async def test_stop_ends_endless_answers_at_once(server: Server) -> None:
    server.world.gates["tasks.wait"] = trio.Event()
    server.world.stream_items = [LOG]
    server.world.stream_hold = trio.Event()
    waiting, following = await server.connect(), await server.connect()
    await waiting.send("GET", f"{C}/wait")
    await following.send("GET", f"{C}/logs?follow=true")
    assert (await following.event()).status_code == 200
    await following.event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.listener.stop, 30.0)
        assert (await waiting.receive()).status == 503
        assert b"stopping" in bytes((await following.event()).data)
        await following.event()
    assert server.world.left == ["stream"]


async def test_shed_closes_the_longest_idle(server: Server) -> None:
    first, second = await server.connect(), await server.connect()
    await first.request("GET", "/v1/version")
    await second.request("GET", "/v1/version")
    await until(lambda: server.api.statistics()["connections_idle"] == 2)
    assert server.api.shed()
    assert await first.rest() == b""
    assert (await second.request("GET", "/v1/version")).status == 200


async def test_reset_by_the_client(server: Server) -> None:
    raw = socket.socket(socket.AF_UNIX)
    raw.connect(server.path)
    raw.sendall(GET)
    await until(lambda: bool(server.world.calls))
    raw.close()  # with the answer unread: the kernel resets
    await server.quiet()


async def until(condition: object) -> None:
    with trio.fail_after(60):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110 - the server has no event for it
            await trio.sleep(0.005)
