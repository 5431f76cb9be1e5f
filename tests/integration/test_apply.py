"""A node's whole desired state: planned, brought about, left alone, changed, pruned."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tricorn_testing.daemon import ApiError, Daemon

pytestmark = [pytest.mark.root, pytest.mark.integration]


def tricorn(agent: Daemon, *words: str, stdin: str = "") -> str:
    command = [sys.executable, "-m", "tricorn.cli", "--socket", agent.socket_path, *words]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def done(change: dict[str, Any]) -> list[str]:
    return [f"{action['verb']} {action['object']}" for action in change["actions"]]


def test_from_nothing_to_less(agent: Daemon, busybox_reference: str) -> None:
    image = {"reference": busybox_reference, "plain_http": True}
    one = {"image": busybox_reference, "args": ["sleep", "1000"], "stop_timeout": 0, "pull": "never"}
    web = one | {"labels": {"tricorn.io/after": "db"}}
    shop = {
        "labels": {"team": "web"},
        "images": [image],
        "containers": {"web": web, "db": one},
        "prune": True,
    }
    state = {"namespaces": {"shop": shop}}

    planned = agent.put("/v1/apply?plan=true", state)
    assert agent.get("/v1/shop/containers")["items"] == []
    made = agent.put("/v1/apply", state)
    assert done(made) == done(planned) == [
        "create namespace/shop", f"pull shop/image/{busybox_reference}", "create shop/container/db",
        "start shop/container/db", "create shop/container/web", "start shop/container/web",
    ]  # fmt: skip
    assert set(made["after"]) == {"namespaces", "images", "containers"}
    assert made["after"]["containers"]["shop/web"]["status"] == "running"
    assert agent.put("/v1/apply", state)["changed"] is False
    assert tricorn(agent, "apply", "-", stdin=json.dumps(state)) == ""

    shop["containers"] = {"web": web | {"env": {"A": "b"}}, "gone": one | {"state": "absent"}}
    less = tricorn(agent, "apply", "--plan", "-", stdin=json.dumps(state)).splitlines()
    assert [line.partition("  ")[0] for line in less] == [
        "remove shop/container/db", "recreate shop/container/web", "start shop/container/web",
    ]  # fmt: skip
    assert done(agent.put("/v1/apply", state)) == [line.partition("  ")[0] for line in less]
    assert [each["id"] for each in agent.get("/v1/shop/containers")["items"]] == ["web"]

    broken = {"namespaces": {"shop": {"containers": {"a": one | {"image": "no/where:1"}, "b": one}}}}
    with pytest.raises(ApiError, match="container shop/a: "):
        agent.put("/v1/apply", broken)
    assert {each["id"] for each in agent.get("/v1/shop/containers")["items"]} == {"web", "b"}
    shop["containers"] = {}
    agent.put("/v1/apply", state)
    assert agent.get("/v1/shop/containers")["items"] == []
