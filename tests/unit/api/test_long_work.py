"""Long work in its three modes, and what becomes of it when its client leaves."""

from __future__ import annotations

import pytest
import trio

from tricorn.errors import NotFound
from tricorn_testing.api import Server

IMAGES = "/v1/default/images"
BODY = {"reference": "redis"}
LINES = {"Accept": "application/x-ndjson"}


async def test_wait(server: Server) -> None:
    answer = await server.request("PUT", IMAGES, BODY)
    assert answer.json()["changed"] is True
    assert answer.json()["actions"][0]["verb"] == "create"


async def test_lines(server: Server) -> None:
    answer = await server.request("PUT", IMAGES, BODY, LINES)
    lines = answer.lines()
    assert all("progress" in line for line in lines[:-1])
    assert lines[-2]["progress"]["phase"] == "downloading"
    assert lines[-1]["result"]["changed"] is True
    assert answer.headers["content-type"] == "application/x-ndjson"


async def test_lines_end_with_the_error(server: Server) -> None:
    server.world.failures["images.put"] = NotFound("no such image", hint="look")
    lines = (await server.request("PUT", IMAGES, BODY, LINES)).lines()
    assert lines[-1]["error"]["code"] == "NotFound"
    assert [line for line in lines if "error" in line] == lines[-1:]


async def test_create_has_its_own_status_in_every_mode(server: Server) -> None:
    body = {"desired": {"image": "redis"}}
    target = "/v1/default/containers"
    assert (await server.request("POST", target, body)).status == 201
    assert (await server.request("POST", target, body, LINES)).status == 201
    assert (await server.request("POST", target, body, {"Prefer": "respond-async"})).status == 202


async def test_plan_is_no_operation(server: Server) -> None:
    await server.request("PUT", f"{IMAGES}?plan=true", BODY, LINES)
    assert (await server.request("GET", "/v1/default/operations")).json()["items"] == []


@pytest.mark.parametrize("headers", [{}, LINES])
@pytest.mark.parametrize("detach", [False, True])
async def test_leaving(server: Server, headers: dict[str, str], detach: bool) -> None:
    server.world.gates["images.put"] = gate = trio.Event()
    client = await server.connect()
    await client.send("PUT", f"{IMAGES}?detach={str(detach).lower()}", BODY, headers)
    await started(server)
    await client.stream.aclose()
    await server.quiet()
    await trio.sleep(0.05)
    assert server.world.cancelled == ([] if detach else ["images.put"])
    gate.set()
    await ended(server)
    assert await state(server) == ("done" if detach else "cancelled")


async def test_respond_async_outlives_its_client(server: Server) -> None:
    server.world.gates["images.put"] = gate = trio.Event()
    answer = await server.request("PUT", IMAGES, BODY, {"Prefer": "respond-async"})
    assert answer.json()["state"] == "running"
    await server.quiet()
    gate.set()
    await ended(server)
    assert await state(server) == "done"


async def test_delete_cancels(server: Server) -> None:
    server.world.gates["images.put"] = trio.Event()
    place = (await server.request("PUT", IMAGES, BODY, {"Prefer": "respond-async"})).headers["location"]
    watcher = await server.connect()
    await watcher.send("GET", f"{place}/progress")
    await watcher.event()
    await server.request("DELETE", place)
    with trio.fail_after(60):
        await watcher.event()
    await ended(server)
    assert await state(server) == "cancelled"


async def test_stop_tells_the_watcher(server: Server) -> None:
    server.world.gates["images.put"] = trio.Event()
    client = await server.connect()
    await client.send("PUT", IMAGES, BODY, LINES)
    assert (await client.event()).status_code == 200
    data = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.listener.stop, 0.1)
        while b"stopping" not in data:
            data += bytes((await client.event()).data)
    await trio.testing.wait_all_tasks_blocked()
    assert server.world.cancelled == ["images.put"]


async def started(server: Server) -> None:
    with trio.fail_after(60):
        while not server.world.calls:  # noqa: ASYNC110 - the fakes have no event for it
            await trio.sleep(0.005)


async def ended(server: Server) -> None:
    with trio.fail_after(60):
        while await state(server) == "running":  # noqa: ASYNC110 - seen from outside
            await trio.sleep(0.005)


async def state(server: Server) -> str:
    return str((await server.request("GET", "/v1/default/operations")).json()["items"][-1]["state"])
