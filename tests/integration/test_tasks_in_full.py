"""What people do with running containers beside starting and stopping them: look, wait, change, attach."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from tricorn.client import Client
from tricorn.client.session import Session
from tricorn_testing.agentclient import ApiError
from tricorn_testing.daemon import Daemon
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.root]
MIB = 1 << 20
CONTAINERS: dict[str, dict[str, Any]] = {
    "busy": {
        "args": ["sh", "-c", "while :; do :; done"], "resources": {"memory": 64 * MIB, "pids": 50, "cpus": 0.1},
    },
    "idle": {"args": ["sleep", "1000"], "health": {"exec": ["true"], "interval": 5}},
    "three": {"args": ["sh", "-c", "sleep 0.3; exit 3"]},
    "seven": {"args": ["sh", "-c", "exit 7"]},
    "later": {"args": ["sleep", "1000"], "state": "present"},
}  # fmt: skip


@pytest.fixture(scope="module")
def place(agent: Daemon, busybox_reference: str) -> Iterator[str]:
    """A namespace with containers of all kinds."""
    for name, body in CONTAINERS.items():
        put(agent, "full", name, busybox_reference, **body)
    yield "full"
    for name in CONTAINERS:
        agent.delete(f"/v1/full/containers/{name}", force=True)


def put(agent: Daemon, namespace: str, name: str, image: str, **body: Any) -> dict[str, Any]:
    return agent.put(f"/v1/{namespace}/containers/{name}", {"image": image, "plain_http": True, **body})


# ---------------------------------------------------------------- looking
def test_samples_metrics_and_processes(agent: Daemon, place: str) -> None:
    found = {item["id"]: item for item in agent.get(f"/v1/{place}/stats")["items"]}
    assert {"busy", "idle"} <= set(found)
    figures = found["busy"]["figures"]
    assert (figures["memory_limit_bytes"], figures["pids_limit"], figures["processes"]) == (64 * MIB, 50, 1)
    assert [item["id"] for item in agent.get(f"/v1/{place}/stats", container="idle")["items"]] == ["idle"]
    assert found["idle"]["pid"] in {item["pid"] for item in agent.get("/v1/stats")["items"]}
    with pytest.raises(ApiError, match="is not running"):
        agent.get(f"/v1/{place}/stats", container="later")

    lines = agent.exchange("GET", "/metrics")[2].decode().splitlines()
    labels = f'name="busy",namespace="{place}"'
    for name in ("cpu_usage_seconds_total", "memory_working_set_bytes", "oom_events_total"):
        assert any(line.startswith(f"container_{name}{{") and labels in line for line in lines), name

    def alone() -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = agent.get(f"/v1/{place}/containers/idle/processes")["items"]
        return listed if len(listed) == 1 else []

    (process,) = eventually(alone, "its health check's program comes and goes")
    assert (process["args"], process["pid"]) == (["sleep", "1000"], found["idle"]["pid"])


def test_the_live_view(agent: Daemon, place: str) -> None:
    shown = agent.cli("-n", place, "top", "--once", "-i", "0.3", "idle", "busy")
    assert shown.returncode == 0, shown.stderr
    first, busy, idle = shown.stdout.splitlines()
    assert first.split()[:2] == ["ID", "STATUS"]
    assert (busy.split()[0], idle.split()[0]) == ("busy", "idle")  # by CPU, the most first
    listed = json.loads(agent.cli("-n", place, "--json", "top", "--once", "-i", "0.1", "idle").stdout)
    assert [(row["id"], row["status"]) for row in listed] == [("idle", "running")]
    assert "sleep 1000" in agent.cli("-n", place, "pids", "idle").stdout


# ---------------------------------------------------------------- waiting
def test_until_all_or_one_have_ended(agent: Daemon, place: str) -> None:
    where = f"/v1/{place}/wait"
    found = agent.get(where, container=["three", "seven"])["items"]
    ends = [(view["id"], view["exit_code"], view["reached"]) for view in found]
    assert ends == [("three", 3, True), ("seven", 7, True)]
    first = agent.get(where, container=["idle", "seven"], any=True)["items"]
    assert [(view["id"], view["reached"]) for view in first] == [("idle", False), ("seven", True)]
    assert agent.cli("-n", place, "wait", "--any", "idle", "seven").stdout.split() == ["seven", "7"]


def test_other_states(agent: Daemon, place: str) -> None:
    assert agent.get(f"/v1/{place}/wait", container="idle", state="healthy")["items"][0]["reached"]
    late = agent.cli("-n", place, "wait", "--state", "running", "--timeout", "0.2", "idle", "later")
    assert late.returncode == 16
    assert "later (created)" in late.stderr


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"container": "nobody"}, "nobody does not exist"),
        ({"container": "later"}, "has no task"),
        ({"container": "later", "state": "healthy"}, "has no health check"),
        ({"state": "running"}, "'container' is missing"),
        ({"container": "idle", "state": "paused"}, "'state' is malformed"),
    ],
)
def test_what_cannot_be_waited_for(agent: Daemon, place: str, query: dict[str, str], words: str) -> None:
    with pytest.raises(ApiError, match=words):
        agent.get(f"/v1/{place}/wait", **query)


# ---------------------------------------------------------------- changing limits
@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_limits_change_at_once_and_stay(
    agent: Daemon, place: str, busybox_reference: str, runtime: str
) -> None:
    name = f"limited-{runtime}"
    where = f"/v1/{place}/containers/{name}"
    body = {"args": ["sleep", "1000"], "runtime": runtime, "stop_timeout": 0}
    resources = {"memory": 64 * MIB, "pids": 50, "cpus": 0.5}
    put(agent, place, name, busybox_reference, **body, resources=resources)
    pid = agent.get(where)["task"]["pid"]

    done = agent.cli("-n", place, "update", "-m", "32m", "--cpus", "1.5", "--pids-limit", "-1", name)
    assert (done.returncode, done.stdout) == (0, f"{name}\n"), done.stderr
    figures = agent.get(f"{where}/stats")
    assert (figures["memory_limit_bytes"], figures["cpu_quota_us"]) == (32 * MIB, 150_000)
    assert "pids_limit" not in figures

    change = put(
        agent, place, name, busybox_reference, **body, resources={"memory": 48 * MIB, "cpu_shares": 512}
    )
    assert [action["verb"] for action in change["actions"]] == ["update"]
    figures = agent.get(f"{where}/stats")
    assert (figures["memory_limit_bytes"], agent.get(where)["task"]["pid"]) == (48 * MIB, pid)
    assert "cpu_quota_us" not in figures

    agent.post(f"{where}/stop", {})
    assert not agent.post(f"{where}/update", {"memory": 40 * MIB})["live"]
    agent.post(f"{where}/start")
    figures = agent.get(f"{where}/stats")
    assert (figures["memory_limit_bytes"], figures.get("cpu_shares", 512)) == (40 * MIB, 512)
    with pytest.raises(ApiError, match="too small"):
        agent.post(f"{where}/update", {"memory": 4096})
    agent.delete(where, force=True)


# ---------------------------------------------------------------- out of memory
def test_kills_for_want_of_memory_are_told_while_the_container_goes_on(
    agent: Daemon, place: str, busybox_reference: str
) -> None:
    """By the kernel's own count; those that nobody looked for in time with its end, and none twice."""
    where = f"/v1/{place}/containers/hungry"
    args = ["sh", "-c", "while [ ! -e /over ]; do sleep 0.1; done"]
    put(agent, place, "hungry", busybox_reference, args=args, resources={"memory": 24 * MIB})

    def eat() -> None:
        script = "echo 1000 > /proc/self/oom_score_adj; x=$(yes aaaaaaaaaaaaaaaaaaaaaaaaa | head -c 90000000)"
        done = agent.post(f"{where}/exec", {"args": ["sh", "-c", script]})
        assert done["exit_code"] == 137

    def told() -> list[int]:
        found = agent.get(f"/v1/{place}/events", filter='topic=="/tasks/oom"')["items"]
        return [event["event"]["count"] for event in found if event["event"]["container_id"] == "hungry"]

    eat()
    first = eventually(told)[-1]
    task = agent.get(where)["task"]
    assert (task["status"], task["oom_kills"]) == ("running", first)
    eat()
    agent.post(f"{where}/exec", {"args": ["touch", "/over"]})
    assert agent.get(f"{where}/wait")["exit_code"] == 0
    task = agent.get(where)["task"]
    assert (task["oom_killed"], task["oom_kills"]) == (True, told()[-1])
    assert told() == sorted(set(told()))
    assert told()[-1] > first
    agent.delete(where)


# ---------------------------------------------------------------- several at one container
def test_several_clients_are_attached_at_the_same_time(
    agent: Daemon, place: str, busybox_reference: str
) -> None:
    """All of them see all output, each can write, and one that leaves takes nothing from the others."""
    body = {"args": ["sh", "-c", "while read line; do echo got $line; done; echo over"], "stdin": True}
    put(agent, place, "shared", busybox_reference, **body)
    trio.run(_talk, agent.socket_path, place)
    assert agent.get(f"/v1/{place}/containers/shared/wait")["exit_code"] == 0
    agent.delete(f"/v1/{place}/containers/shared")


async def _talk(socket: str, namespace: str) -> None:
    async with Client(socket, namespace=namespace) as client:
        containers = client.containers
        async with containers.attach("shared") as first:
            async with containers.attach("shared") as second, containers.attach("shared") as third:
                for number, writer in enumerate((first, second, third)):
                    await writer.send_stdin(b"%d\n" % number)
                    for reader in (first, second, third):
                        await _read_until(reader, b"got %d\n" % number)
            await first.send_stdin(b"last\n")
            await _read_until(first, b"got last\n")
            await containers.close_stdin("shared")
            await _read_until(first, b"over\n")


async def _read_until(session: Session, wanted: bytes) -> None:
    seen = b""
    with trio.fail_after(60):
        while wanted not in seen:
            seen += (await anext(session))[1]


# ---------------------------------------------------------------- what the node can't grant
def test_the_answer_to_a_creation_tells_what_was_lowered(
    agent: Daemon, place: str, busybox_reference: str
) -> None:
    capabilities = {item["name"]: item["available"] for item in agent.get("/v1/info")["capabilities"]}
    desired = {"image": busybox_reference, "rlimits": [{"type": "nproc", "soft": 1 << 40, "hard": 1 << 40}]}
    made = agent.post(f"/v1/{place}/containers", {"name": "much", "desired": desired})
    try:
        assert bool(made["warnings"]) != capabilities["rlimits"]
        assert agent.get(f"/v1/{place}/containers/much")["warnings"] == []
    finally:
        agent.delete(f"/v1/{place}/containers/much", force=True)
