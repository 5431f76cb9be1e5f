"""A cordoned node: nothing new over either door, and all that is there goes on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tricorn import wire
from tricorn.client import Client
from tricorn.errors import FailedPrecondition, InvalidArgument
from tricorn.grpc import Code
from tricorn_testing.daemon import ApiError, Daemon, running_daemon
from tricorn_testing.grpc_client import GrpcClient, grpc_client, refused
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.root]
NS = "cordoned"
SPEC = {"type_url": "types.containerd.io/opencontainers/runtime-spec/1/Spec", "value": b"{}"}
ANY = wire.message("google.protobuf.Any")
WHY = "this node is cordoned (new disks), it takes on nothing new"


@pytest.fixture(scope="module")
def node(busybox_reference: str) -> Iterator[Daemon]:
    with running_daemon() as agent:
        for name, state in (("up", "started"), ("down", "present"), ("steady", "started")):
            agent.put(f"/v1/{NS}/containers/{name}", wanted(busybox_reference, state, name))
        yield agent


def wanted(image: str, state: str = "started", name: str = "") -> dict[str, Any]:
    restart = {"restart": "always"} if name == "steady" else {}
    body = {"image": image, "plain_http": True, "args": ["sleep", "1000"], "stop_timeout": 0.0}
    return {**body, "state": state, **restart}


@pytest.fixture
def cordoned(node: Daemon) -> Iterator[Daemon]:
    node.put("/v1/node/cordon", {"reason": "new disks"})
    yield node
    node.delete("/v1/node/cordon")


@pytest.fixture
async def client(cordoned: Daemon) -> AsyncIterator[GrpcClient]:
    async with grpc_client(cordoned, NS) as made:
        yield made


def pid(node: Daemon, name: str) -> int:
    task = node.get(f"/v1/{NS}/containers/{name}")["task"] or {}
    return int(task.get("pid") or 0) if task.get("status") == "running" else 0


def test_the_node_says_so_and_says_why_as_long_as_it_is(node: Daemon) -> None:
    assert node.get("/v1/info")["cordon"] == {"cordoned": False, "reason": "", "since": None}
    planned = node.put("/v1/node/cordon", {"reason": "new disks"}, plan=True)
    assert (planned["changed"], node.get("/v1/node/cordon")["cordoned"]) == (True, False)
    done = node.cli("node", "cordon", "--reason", "new disks")
    assert (done.returncode, done.stdout) == (0, "the node is cordoned: new disks\n")
    assert node.put("/v1/node/cordon", {"reason": "new disks"})["changed"] is False
    since = node.get("/v1/info")["cordon"]["since"]

    node.put("/v1/node/cordon", {"reason": "still"})
    kept = node.get("/v1/node/cordon")
    assert kept == {"cordoned": True, "reason": "still", "since": since}
    os.kill(node.pid, signal.SIGKILL)
    node.wait_exit()
    node.start()
    assert node.get("/v1/node/cordon") == kept
    assert "reason: still" in node.cli("info").stdout

    done = node.cli("node", "uncordon")
    assert (done.returncode, done.stdout) == (0, "the node is open to new containers\n")
    assert json.loads(node.cli("node", "uncordon", "--json").stdout)["changed"] is False
    node.restart()
    assert node.get("/v1/node/cordon")["cordoned"] is False


@pytest.mark.parametrize("reason", ["two\nlines", "x" * 501])
def test_a_reason_is_a_line(node: Daemon, reason: str) -> None:
    with pytest.raises(ApiError) as caught:
        node.put("/v1/node/cordon", {"reason": reason})
    assert (caught.value.status, caught.value.problem["code"]) == (400, "InvalidArgument")


def test_nothing_new_is_taken_on(cordoned: Daemon, busybox_reference: str) -> None:
    containers = f"/v1/{NS}/containers"
    new, changed = wanted(busybox_reference), {**wanted(busybox_reference), "args": ["sleep", "7"]}
    before = pid(cordoned, "up")
    attempts = {
        "put": partial(cordoned.put, f"{containers}/new", new),
        "create": partial(cordoned.post, containers, {"name": "new", "desired": new}),
        "change": partial(cordoned.put, f"{containers}/up", changed),
        "start": partial(cordoned.post, f"{containers}/down/start"),
        "restart": partial(cordoned.post, f"{containers}/up/restart"),
        "state": partial(cordoned.put, f"{containers}/down", wanted(busybox_reference)),
        "restore": partial(
            cordoned.post, f"/v1/{NS}/checkpoints/restore", {"id": "new", "image": "checkpoint/of:1"}
        ),
        "apply": partial(
            cordoned.put,
            "/v1/apply",
            {"namespaces": {NS: {"containers": {"new": wanted(busybox_reference)}}}},
        ),
    }
    for name, attempt in attempts.items():
        with pytest.raises(ApiError) as caught:
            attempt()
        assert (caught.value.status, caught.value.problem["code"]) == (412, "FailedPrecondition"), name
        assert WHY in str(caught.value.problem), name
        assert "tricorn node uncordon" in caught.value.problem["hint"], name
    assert pid(cordoned, "up") == before != 0
    planned = cordoned.put(f"{containers}/new", new, plan=True)
    assert planned["warnings"] == [f"{WHY}: it would be refused"]
    done = cordoned.cli("-n", NS, "run", "--rm", "--name", "new", busybox_reference, "true")
    assert done.returncode == 125  # as of all that keeps a container from running
    assert WHY in done.stderr


def test_what_is_there_goes_on(cordoned: Daemon, busybox_reference: str) -> None:
    containers = f"/v1/{NS}/containers"
    before = pid(cordoned, "steady")
    assert cordoned.put(f"{containers}/up", wanted(busybox_reference))["changed"] is False
    assert cordoned.post(f"{containers}/up/start")["task"]["status"] == "running"
    assert cordoned.post(f"{containers}/up/exec", {"args": ["echo", "hi"]})["stdout"] == "hi\n"
    limited = cordoned.post(f"{containers}/up/update", {"pids": 100})
    assert limited["live"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: pid(cordoned, "steady") not in {0, before}, "its policy did not start it again")
    cordoned.post(f"{containers}/up/stop", {"timeout": 0})
    assert pid(cordoned, "up") == 0
    cordoned.delete("/v1/node/cordon")
    cordoned.post(f"{containers}/up/start")
    assert pid(cordoned, "up") != 0


async def test_neither_over_grpc(client: GrpcClient, cordoned: Daemon) -> None:
    made = {"id": "new", "image": "a", "runtime": {"name": "io.containerd.runc.v2"}, "spec": ANY(**SPEC)}
    sandbox = {"sandbox_id": "new", "runtime": {"name": "io.containerd.runc.v2"}, "spec": ANY(**SPEC)}
    attempts: list[tuple[str, str, dict[str, Any]]] = [
        ("containers.v1.Containers", "Create", {"container": made}),
        ("tasks.v1.Tasks", "Create", {"container_id": "down"}),
        ("sandbox.v1.Controller", "Create", {"sandbox_id": "new", "sandbox": sandbox}),
        ("sandbox.v1.Controller", "Start", {"sandbox_id": "new"}),
    ]
    for service, method, asked in attempts:
        with refused(Code.FAILED_PRECONDITION, "cordoned"):
            await client.call(service, method, **asked)
    before = await trio.to_thread.run_sync(pid, cordoned, "up")
    await client.call("tasks.v1.Tasks", "Kill", container_id="up", signal=9)
    await client.call("tasks.v1.Tasks", "Wait", container_id="up")
    assert before


async def test_the_client_knows_it(node: Daemon) -> None:
    async with Client(str(node.socket_path), namespace=NS) as made:
        assert (await made.cordon("why", plan=True)).actions[0].verb == "cordon"
        assert (await made.cordon("why")).changed
        with pytest.raises(FailedPrecondition, match="cordoned"):
            await made.containers.start("down")
        with pytest.raises(InvalidArgument):
            await made.cordon("\n")
        assert (await made.uncordon()).changed


def test_a_file_that_cannot_be_read_counts(node: Daemon) -> None:
    file = Path(node.root) / "cordon.json"
    file.write_text("{")
    node.restart()
    assert "can't be read" in node.get("/v1/node/cordon")["reason"]
    assert node.put("/v1/node/cordon", {"reason": "known"})["changed"]
    assert json.loads(file.read_text())["reason"] == "known"
    node.delete("/v1/node/cordon")
    assert not file.exists()
