"""Health checks against real containers: all three probes, and what an unhealthy one brings about."""

from __future__ import annotations

from typing import Any

import pytest

from tricorn_testing.daemon import ApiError, Daemon
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.root]
SERVE = "mkdir /www && echo ok >/www/ready && exec httpd -f -h /www -p 8080"
QUICK = {"interval": 0.2, "timeout": 10.0, "retries": 2}


@pytest.fixture
def place(own_namespace: str) -> str:
    return f"/v1/{own_namespace}/containers/web"


def run(agent: Daemon, place: str, image: str, script: str, health: dict[str, Any], **more: Any) -> None:
    body = {"image": image, "plain_http": True, "args": ["sh", "-c", script], "health": QUICK | health}
    agent.put(place, {**body, **more})


def wait(agent: Daemon, place: str) -> dict[str, Any]:
    return agent.get(f"{place}/health", wait=True, timeout=60)


@pytest.mark.parametrize(
    "health",
    [{"exec": ["test", "-e", "/www/ready"]}, {"tcp": 8080}, {"http": "http://127.0.0.1:8080/ready"}],
    ids=lambda health: next(iter(health)),
)
def test_a_server_becomes_healthy(
    agent: Daemon, place: str, busybox_reference: str, health: dict[str, Any]
) -> None:
    run(agent, place, busybox_reference, f"sleep 0.3; {SERVE}", health)
    assert wait(agent, place)["status"] == "healthy"
    assert agent.get(place)["task"]["health"]["status"] == "healthy"
    agent.delete(place, force=True)


def test_an_unhealthy_one_is_killed_and_started_again(
    agent: Daemon, place: str, busybox_reference: str, own_namespace: str
) -> None:
    health = {"exec": ["test", "-e", "/well"], "on_unhealthy": "kill"}
    run(agent, place, busybox_reference, "touch /well; exec sleep 1000", health, restart="always")
    wait(agent, place)
    agent.post(f"{place}/exec", {"args": ["rm", "/well"]})
    assert agent.get(f"{place}/wait")["exit_code"] == 137
    eventually(lambda: (agent.get(place)["task"]["health"] or {}).get("status") == "healthy")
    kept = agent.get(f"/v1/{own_namespace}/events", filter='topic=="/tasks/health"')["items"]
    assert [event["event"]["status"] for event in kept] == ["healthy", "unhealthy", "healthy"]
    agent.delete(place, force=True)


def test_a_check_is_changed_in_place(agent: Daemon, place: str, busybox_reference: str) -> None:
    run(agent, place, busybox_reference, "exec sleep 1000", {"exec": ["true"]})
    wait(agent, place)
    body = {"image": busybox_reference, "plain_http": True, "args": ["sh", "-c", "exec sleep 1000"]}
    change = agent.put(place, {**body, "health": QUICK | {"tcp": 1}})
    assert [action["verb"] for action in change["actions"]] == ["update"]
    eventually(lambda: agent.get(f"{place}/health")["status"] == "unhealthy")
    assert "127.0.0.1:1" in agent.get(f"{place}/health")["note"]
    agent.delete(place, force=True)


def test_what_has_no_check_or_has_ended_cannot_be_waited_for(
    agent: Daemon, place: str, busybox_reference: str
) -> None:
    run(agent, place, busybox_reference, "exit 0", {"tcp": 1})
    agent.get(f"{place}/wait")
    with pytest.raises(ApiError, match="is not running"):
        wait(agent, place)
    agent.delete(place)
    agent.put(place, {"image": busybox_reference, "plain_http": True, "args": ["sleep", "100"]})
    with pytest.raises(ApiError, match="has no health check"):
        agent.get(f"{place}/health")
    agent.delete(place, force=True)
