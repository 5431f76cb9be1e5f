"""What containers use, as people, programs and Prometheus are told."""

from __future__ import annotations

import json

import pytest

from tricorn_testing.agentclient import ApiError
from tricorn_testing.daemon import Daemon

pytestmark = [pytest.mark.integration, pytest.mark.root]


@pytest.fixture
def place(agent: Daemon, own_namespace: str, busybox_reference: str) -> str:
    """Two running containers, one of them at work, and one that has ended."""
    ns = own_namespace[:40]
    bodies = {
        "busy": (["sh", "-c", "while :; do :; done"], {"memory": 64 << 20, "pids": 50, "cpus": 0.2}),
        "idle": (["sleep", "1000"], {}),
        "ended": (["true"], {}),
    }
    for name, (args, resources) in bodies.items():
        body = {"image": busybox_reference, "plain_http": True, "args": args, "resources": resources}
        agent.put(f"/v1/{ns}/containers/{name}", body)
    agent.get(f"/v1/{ns}/containers/ended/wait")
    return ns


def test_samples_metrics_and_processes(agent: Daemon, place: str) -> None:
    found = {item["id"]: item for item in agent.get(f"/v1/{place}/stats")["items"]}
    assert set(found) == {"busy", "idle"}
    figures = found["busy"]["figures"]
    assert (figures["memory_limit_bytes"], figures["pids_limit"], figures["processes"]) == (64 << 20, 50, 1)
    assert [item["id"] for item in agent.get(f"/v1/{place}/stats", container="idle")["items"]] == ["idle"]
    assert found["idle"]["id"] in {item["id"] for item in agent.get("/v1/stats")["items"]}
    with pytest.raises(ApiError, match="is not running"):
        agent.get(f"/v1/{place}/stats", container="ended")

    text = agent.exchange("GET", "/metrics")[2].decode()
    labels = f'name="busy",namespace="{place}"'
    for name in ("cpu_usage_seconds_total", "memory_working_set_bytes", "oom_events_total"):
        assert any(line.startswith(f"container_{name}{{") and labels in line for line in text.splitlines()), (
            name
        )

    (process,) = agent.get(f"/v1/{place}/containers/idle/processes")["items"]
    assert (process["args"], process["pid"]) == (["sleep", "1000"], found["idle"]["pid"])


def test_the_live_view(agent: Daemon, place: str) -> None:
    shown = agent.cli("-n", place, "top", "--once", "-i", "0.5")
    assert shown.returncode == 0, shown.stderr
    first, busy, idle = shown.stdout.splitlines()
    assert first.split()[:2] == ["ID", "STATUS"]
    assert (busy.split()[0], idle.split()[0]) == ("busy", "idle")  # by CPU, the most first
    listed = json.loads(
        agent.cli("-n", place, "--json", "top", "--once", "-s", "name", "-i", "0.2", "idle").stdout
    )
    assert [(row["id"], row["status"]) for row in listed] == [("idle", "running")]
    assert "sleep 1000" in agent.cli("-n", place, "pids", "idle").stdout
    assert agent.cli("-n", place, "top", "-A", "idle").returncode == 2
    assert agent.cli("-n", place, "top", "--once", "ended").returncode == 8
