"""The modules of what runs, against a running agent: tasks, their figures and logs, events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.ansible_plays import COLLECTION, Ansible, examples, task
from tricorn_testing.daemon import Daemon

pytestmark = [pytest.mark.root, pytest.mark.integration]
LOOP = 'trap "echo again" HUP; echo begun; echo oh >&2; while :; do sleep 0.1; done'


@pytest.fixture
def web(agent: Daemon, busybox_reference: str) -> Iterator[str]:
    """A container as the examples of the documentation take for granted."""
    place = "/v1/default/containers/web"
    health = {"exec": ["true"], "interval": 0.2}
    agent.put(place, {
        "image": busybox_reference, "plain_http": True, "args": ["sh", "-c", LOOP], "health": health,
        "labels": {"app": "shop"}, "stop_timeout": 0.5,
    })  # fmt: skip
    yield place
    agent.delete(place, force=True)


def test_examples_do_what_they_say(agent: Daemon, ansible: Ansible, web: str, tmp_path: Path) -> None:
    pid = agent.get(web)["task"]["pid"]
    ansible.play_examples(
        agent.socket_path, "task", "task_info", "metrics_info", "container_logs", "container_copy", "event_info",
        "event_wait", backup_directory=str(tmp_path),
    )  # fmt: skip
    assert (tmp_path / "shop/shop.conf").read_text() == "mode = production\nworkers = 4\n"
    assert agent.get(web)["task"]["status"] == "running"
    assert agent.get(web)["task"]["pid"] != pid


def test_tasks_once_and_again(agent: Daemon, ansible: Ansible, web: str) -> None:
    one = {"container": "web"}
    check = {"keywords": {"check_mode": True, "diff": True}}
    paused = task("task", **one, state="paused")
    stopped = task("task", **one, state="stopped", stop_timeout=0)
    names = ["paused", "resumed", "exit"]
    played = ansible.play(
        agent.socket_path,
        task("event_info", namespace="default"),
        paused, paused, task("task_info", **one), task("task", **one, **check), task("task", **one), task("task", **one),
        stopped, stopped, task("task", **one, state="killed"), paused,
        task("event_wait", namespace="default", since="{{ r0.cursor }}", count=3,
             filters=[f'topic=="/tasks/{name}",event.container_id==web' for name in names]),
        task("container_logs", **one),
        task("event_wait", namespace="default", wait_timeout=0.1, filters=['topic=="/none"']),
        way="relay",
    )  # fmt: skip
    assert played.changed[:10] == [
        False, True, False, False,  # event_info; paused, twice; task_info
        True, True, False,  # running: in check mode, then twice
        True, False, False,  # stopped, twice; nothing left to kill
    ]  # fmt: skip
    frozen, planned, ended, refused = (played.results[number] for number in (3, 4, 7, 10))
    assert frozen["tasks"][0]["status"] == planned["diff"]["before"]["status"] == "paused"
    assert frozen["tasks"][0]["processes"]
    assert planned["task"]["status"] == "running"
    assert ended["task"]["exit_code"] == 137
    assert "nothing to pause" in refused["msg"]
    waited, log, late = played.results[11:]
    assert [event["topic"] for event in waited["events"]] == [f"/tasks/{name}" for name in names]
    assert (log["stdout_lines"], log["stderr"]) == (["begun"], "oh")
    assert "0 of 1 events" in late["msg"]


def test_files_by_content_and_from_the_controller(
    agent: Daemon, ansible: Ansible, web: str, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    (backup / "shop").mkdir(parents=True)
    (backup / "shop/shop.conf").write_text("workers = 4\n")
    one = {"container": "web"}
    file = task("container_copy", **one, path="/conf", src=str(backup / "shop/shop.conf"))
    tree = task("container_copy", **one, path="/tree", src=str(backup))
    text = task("container_copy", **one, path="/conf", content="mode = test\n", mode="0640",
                keywords={"check_mode": True, "diff": True})  # fmt: skip
    played = ansible.play(agent.socket_path, file, file, tree, tree, text, way="relay")
    assert not [result["msg"] for result in played.results if result["failed"]]
    assert played.changed == [True, False, True, False, True]
    assert "-workers = 4" in played.output
    listed = agent.post(f"{web}/exec", {"args": ["find", "/tree"]})
    assert sorted(listed["stdout"].split()) == ["/tree", "/tree/shop", "/tree/shop/shop.conf"]


def test_a_whole_node(agent: Daemon, ansible: Ansible, busybox_reference: str) -> None:
    """The example of apply, again, then in check mode with less in it."""
    state: dict[str, Any] = examples("apply")[0][f"{COLLECTION}.apply"]
    held = json.loads(json.dumps(state["namespaces"][0]).replace("{{ image }}", busybox_reference))
    whole = task("apply", namespaces=[held])
    less = task("apply", namespaces=[{**held, "containers": held["containers"][:1]}])
    unknown = task("apply", namespaces=[{"name": "shop", "containers": [{"name": "x", "imagee": "y"}]}])
    checked = {**less, "check_mode": True, "diff": True}
    played = ansible.play(agent.socket_path, whole, whole, checked, less, less, unknown, way="relay")
    assert not [result["msg"] for result in played.results[:5] if result["failed"]]
    assert played.changed[:5] == [True, False, True, True, False]
    verbs = [
        [f"{each['verb']} {each['object']}" for each in result["actions"]] for result in played.results[:4]
    ]
    assert verbs[0][-1] == "start shop/container/web"
    assert verbs[2] == verbs[3] == ["remove shop/container/web"]
    assert "imagee" in played.results[5]["msg"]
    assert [each["id"] for each in agent.get("/v1/shop/containers")["items"]] == ["cache"]
    agent.delete("/v1/shop/containers/cache", force=True)
