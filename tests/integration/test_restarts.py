"""Restart policies on a running agent: its own containers, and those that clients label."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tricorn.rules import restarts
from tricorn_testing.ctr import Ctr
from tricorn_testing.daemon import ApiError, Daemon
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.root]
C = "/v1/{}/containers/{}"


def put(agent: Daemon, namespace: str, name: str, image: str, script: str, restart: str) -> None:
    body = {
        "image": image,
        "plain_http": True,
        "args": ["sh", "-c", script],
        "restart": restart,
        "stop_timeout": 0,
    }
    agent.put(C.format(namespace, name), body)


def view(agent: Daemon, namespace: str, name: str) -> dict[str, Any]:
    return agent.get(C.format(namespace, name))


def count(agent: Daemon, namespace: str, name: str) -> int:
    return int(view(agent, namespace, name)["labels"].get(restarts.COUNT, 0))


def test_a_crash_is_followed_by_a_start(agent: Daemon, own_namespace: str, busybox_reference: str) -> None:
    ns = own_namespace
    put(agent, ns, "web", busybox_reference, "sleep 0.1; exit 3", "always")
    eventually(lambda: count(agent, ns, "web") >= 2)
    agent.post(C.format(ns, "web") + "/stop", {})
    stopped = view(agent, ns, "web")
    assert stopped["labels"] == {restarts.STOPPED_BY_HAND: "true"}
    time.sleep(1.0)  # longer than its next pause
    assert view(agent, ns, "web")["task"]["exited_at"] == stopped["task"]["exited_at"]
    agent.post(C.format(ns, "web") + "/start", {})
    eventually(lambda: count(agent, ns, "web") >= 1)
    agent.delete(C.format(ns, "web"), force=True)


@pytest.mark.parametrize("policy", ["no", "always", "on-failure:2"])
def test_by_hand_it_is_stopped_and_started_once(
    agent: Daemon, own_namespace: str, busybox_reference: str, policy: str
) -> None:
    ns, path = own_namespace, C.format(own_namespace, "web")
    put(agent, ns, "web", busybox_reference, "echo up; exec sleep 1000", policy)
    eventually(lambda: agent.cli("-n", ns, "logs", "web").stdout == "up\n")
    before = view(agent, ns, "web")["task"]["pid"]
    again = agent.post(f"{path}/restart", {})
    assert (again["task"]["status"], again["labels"]) == ("running", {})
    assert again["task"]["pid"] != before
    time.sleep(0.5)  # longer than its policy would wait
    assert view(agent, ns, "web")["task"]["pid"] == again["task"]["pid"]
    eventually(lambda: agent.cli("-n", ns, "logs", "web").stdout == "up\nup\n")
    agent.post(f"{path}/stop", {})
    done = agent.cli("-n", ns, "restart", "-t", "1s", "web")
    assert (done.returncode, done.stdout) == (0, "web\n")
    started = view(agent, ns, "web")
    assert (started["task"]["status"], started["labels"]) == ("running", {})
    with pytest.raises(ApiError, match="does not exist"):
        agent.post(C.format(ns, "nobody") + "/restart", {})
    agent.delete(path, force=True)


def test_failures_end_at_the_bound_and_success_is_an_end(
    agent: Daemon, own_namespace: str, busybox_reference: str
) -> None:
    ns = own_namespace
    put(agent, ns, "fails", busybox_reference, "exit 1", "on-failure:2")
    put(agent, ns, "ends", busybox_reference, "exit 0", "on-failure:2")
    eventually(lambda: count(agent, ns, "fails") == 2)
    eventually(lambda: view(agent, ns, "fails")["task"]["status"] == "stopped")
    time.sleep(1.0)  # longer than the pause after two attempts
    assert count(agent, ns, "fails") == 2
    assert count(agent, ns, "ends") == 0
    for name in ("fails", "ends"):
        agent.delete(C.format(ns, name))


def test_a_policy_that_makes_no_sense_is_refused(agent: Daemon, own_namespace: str) -> None:
    with pytest.raises(ApiError, match="restart policy 'often' is unknown") as raised:
        agent.put(C.format(own_namespace, "x"), {"image": "x", "restart": "often"})
    assert raised.value.status == 400


def test_policies_outlive_the_agent(agent: Daemon, own_namespace: str, busybox_reference: str) -> None:
    put(agent, own_namespace, "web", busybox_reference, "sleep 1000", "unless-stopped")
    first = view(agent, own_namespace, "web")["task"]["pid"]
    agent.kill()
    os.kill(first, signal.SIGKILL)
    agent.start()
    eventually(lambda: view(agent, own_namespace, "web")["task"]["pid"] not in {0, first})
    agent.delete(C.format(own_namespace, "web"), force=True)


def test_labels_of_clients(ctr: Ctr, busybox: str, tmp_path: Path) -> None:
    """As containerd's restart monitor: `ctr run` with its labels, output to where the label says."""
    labels = {restarts.STATUS: "running", restarts.LOG_URI: f"file://{tmp_path}/log"}
    words = [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
    ctr.run("run", "-d", *words, busybox, "kept", "sh", "-c", "echo up; exec sleep 1000")
    first = pid_of(ctr, "kept")
    ctr.run("tasks", "kill", "-s", "KILL", "kept")
    eventually(lambda: pid_of(ctr, "kept") not in {first, 0})
    eventually(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text() == "up\n")
    ctr.run("containers", "label", "kept", f"{restarts.STATUS}=stopped")
    eventually(lambda: not ctr.rows("tasks", "ls"))
    ctr.run("containers", "rm", "kept")


def pid_of(ctr: Ctr, name: str) -> int:
    """Return the process of a running task, 0 while there is none."""
    rows = ctr.rows("tasks", "ls")
    return next((int(row["PID"]) for row in rows if (row["TASK"], row["STATUS"]) == (name, "RUNNING")), 0)
