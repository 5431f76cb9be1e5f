"""All containers of a node stop in order, and come back in order, after a reboot or when told to."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.daemon import Daemon, running_daemon
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.root]
NS = "ordered"
HEALTHY = {"exec": ["test", "-e", "/ready"], "interval": 0.2, "timeout": 10.0}
CONTAINERS: dict[str, dict[str, Any]] = {
    "web": {"restart": "unless-stopped", "labels": {"tricorn.io/after": "cache"}},
    "cache": {"restart": "always", "labels": {"tricorn.io/after": "db"}},
    "db": {"restart": "unless-stopped", "health": HEALTHY},
    "job": {},
    "by-hand": {"restart": "unless-stopped"},
}


@pytest.fixture(scope="module")
def node(busybox_reference: str):
    with running_daemon() as agent:
        for name, body in CONTAINERS.items():
            script = "trap 'exit 0' TERM; sleep 0.3; touch /ready; while :; do sleep 0.1; done"
            full = {"image": busybox_reference, "plain_http": True, "args": ["sh", "-c", script], **body}
            agent.put(f"/v1/{NS}/containers/{name}", full)
        yield agent


def tasks(agent: Daemon) -> dict[str, dict[str, Any]]:
    return {item["id"]: item["task"] for item in agent.get(f"/v1/{NS}/containers")["items"]}


def running(agent: Daemon) -> set[str]:
    return {name for name, task in tasks(agent).items() if task["status"] == "running"}


def starts(agent: Daemon) -> list[str]:
    found = tasks(agent)
    return sorted(("db", "cache", "web"), key=lambda name: str(found[name]["started_at"]))


def test_they_stop_in_order_and_come_back(node: Daemon) -> None:
    planned = node.post("/v1/node/stop", plan=True)["items"]
    waves = {item["id"]: item["wave"] for item in planned}
    assert waves == {"web": 1, "cache": 2, "by-hand": 3, "db": 3, "job": 3}
    node.get(f"/v1/{NS}/wait", container="db", state="healthy")

    done = node.cli("node", "stop-all", "-t", "20s")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split() == ["1", NS, "web", "stopped"]
    ended = tasks(node)
    assert {task["exit_code"] for task in ended.values()} == {0}  # by its own signal, within its grace
    assert ended["web"]["exited_at"] <= ended["cache"]["exited_at"] <= ended["db"]["exited_at"]

    assert node.cli("node", "start-all").returncode == 0
    eventually(lambda: {"web", "cache", "db", "by-hand"} <= running(node))
    assert starts(node) == ["db", "cache", "web"]
    assert tasks(node)["job"]["status"] == "stopped"


def test_after_a_reboot_policies_bring_them_back_in_order(node: Daemon) -> None:
    """A reboot: no process is left, and the records are of another boot."""
    node.post(f"/v1/{NS}/containers/by-hand/stop", {})
    before = tasks(node)
    node.kill()
    for name in running_pids(before):
        with contextlib.suppress(ProcessLookupError):
            os.kill(name, signal.SIGKILL)
    with contextlib.closing(sqlite3.connect(node.root / "db/tricorn.db")) as db, db:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        changed = db.execute(
            "UPDATE tasks SET data = CAST(replace(CAST(data AS TEXT), ?, 'of-yesterday') AS BLOB)", (boot,)
        )
        assert changed.rowcount == len(CONTAINERS)
    node.start()
    eventually(lambda: {"web", "cache", "db"} <= running(node))
    assert starts(node) == ["db", "cache", "web"]
    assert {name for name in tasks(node) if name not in running(node)} == {"job", "by-hand"}
    first = tasks(node)
    healthy = node.get(f"/v1/{NS}/events", filter='topic=="/tasks/health"')["items"][-1]
    assert healthy["timestamp"] <= first["cache"]["started_at"]  # it came after one that is well, not only up


def running_pids(found: dict[str, dict[str, Any]]) -> list[int]:
    return [task["pid"] for task in found.values() if task["pid"]]
