"""Waiting for many containers, and for other states than their end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tricorn_testing.agentclient import ApiError
from tricorn_testing.daemon import Daemon

pytestmark = [pytest.mark.integration, pytest.mark.root]


@pytest.fixture
def place(agent: Daemon, own_namespace: str, busybox_reference: str) -> str:
    ns = own_namespace[:40]

    def put(name: str, *args: str, **more: Any) -> None:
        body = {"image": busybox_reference, "plain_http": True, "args": args, **more}
        agent.put(f"/v1/{ns}/containers/{name}", body)

    put("three", "sh", "-c", "sleep 0.3; exit 3")
    put("seven", "sh", "-c", "exit 7")
    put("long", "sleep", "1000", health={"exec": ["true"], "interval": 0.2})
    put("later", "sleep", "1000", state="present")
    return ns


def test_until_all_or_one_have_ended(agent: Daemon, place: str) -> None:
    found = agent.get(f"/v1/{place}/wait?container=three&container=seven")["items"]
    assert [(view["id"], view["exit_code"], view["reached"]) for view in found] == [
        ("three", 3, True),
        ("seven", 7, True),
    ]
    first = agent.get(f"/v1/{place}/wait?container=long&container=seven", any=True)["items"]
    assert [(view["id"], view["reached"], view["status"]) for view in first] == [
        ("long", False, "running"), ("seven", True, "stopped"),
    ]  # fmt: skip
    done = agent.cli("-n", place, "wait", "three", "seven")
    assert (done.returncode, done.stdout.split()) == (0, ["3", "7"])
    assert agent.cli("-n", place, "wait", "--any", "long", "seven").stdout.split() == ["seven", "7"]


def test_other_states(agent: Daemon, place: str) -> None:
    assert agent.cli("-n", place, "wait", "--state", "healthy", "long").stdout == "long\n"
    shown = json.loads(agent.cli("-n", place, "--json", "wait", "--state", "running", "long").stdout)
    assert [(view["id"], view["status"], view["exit_code"]) for view in shown] == [("long", "running", None)]
    late = agent.cli("-n", place, "wait", "--state", "running", "--timeout", "0.2", "long", "later")
    assert late.returncode == 16
    assert "later (created)" in late.stderr
    agent.post(f"/v1/{place}/containers/later/start")
    assert agent.get(f"/v1/{place}/wait?container=later", state="running")["items"][0]["reached"]
    agent.get(f"/v1/{place}/wait?container=seven")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("container=nobody", "nobody does not exist"),
        ("container=later", "has no task"),
        ("container=later&state=healthy", "has no health check"),
        ("state=running", "'container' is missing"),
        ("container=long&state=paused", "'state' is malformed"),
    ],
)
def test_what_cannot_be_waited_for(agent: Daemon, place: str, query: str, words: str) -> None:
    with pytest.raises(ApiError, match=words):
        agent.get(f"/v1/{place}/wait?{query}")
