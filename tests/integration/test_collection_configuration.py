"""The modules that configure a node and make snapshots there, against a running agent."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.ansible_plays import Ansible, task
from tricorn_testing.daemon import Daemon

pytestmark = [pytest.mark.root, pytest.mark.integration, pytest.mark.slow]
SECRET = "correct-horse-battery"


def test_snapshots_are_made_once(agent: Daemon, ansible: Ansible) -> None:
    check = {"keywords": {"check_mode": True, "diff": True}}
    work: dict[str, Any] = {"key": "work", "namespace": "layers", "keep": True}
    base = {"key": "base", "namespace": "layers", "state": "committed", "source": "work", "keep": True}
    look = {"key": "look", "namespace": "layers", "state": "view", "parent": "base", "keep": True}
    gone = {"key": "look", "namespace": "layers", "state": "absent"}
    played = ansible.play(
        agent.socket_path,
        task("snapshot", **work, **check), task("snapshot", **work), task("snapshot", **work),
        task("snapshot", **work, labels={"a": "1"}),
        task("snapshot", **base, **check), task("snapshot", **base), task("snapshot", **base),
        task("snapshot", **look), task("snapshot", **look),
        task("snapshot", key="base", namespace="layers", state="absent", **check),
        task("snapshot", **gone, **check), task("snapshot", **gone), task("snapshot", **gone),
        way="relay",
    )  # fmt: skip
    assert [result["failed"] for result in played.results] == [False] * 9 + [True] + [False] * 3
    assert [result["changed"] for result in played.results if not result["failed"]] == [
        True, True, False,  # active
        True,  # a label
        True, True, False,  # committed
        True, False,  # a view
        True, True, False,  # absent
    ]  # fmt: skip
    assert played.results[1]["snapshot"]["mounts"]
    assert "look" in played.results[9]["msg"]  # what stands on it
    left = agent.get("/v1/layers/snapshots")["items"]
    assert [(each["key"], each["kind"]) for each in left] == [("base", "committed")]


@pytest.mark.parametrize("way", ["relay", "module"])
def test_a_part_of_the_configuration(agent: Daemon, ansible: Ansible, tmp_path: Path, way: str) -> None:
    config = tmp_path / "etc/config.toml"
    config.parent.mkdir()
    config.write_text(f'root = "{agent.root}"\n')
    program = tmp_path / "tricornd"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tricorn "$@"\n')
    program.chmod(0o755)
    place = str(tmp_path / "etc/secrets/registry")
    login = [{"host": "r.example", "username": "me", "password_file": place}]
    common = {"config_file": str(config), "program": str(program)}
    settings = {"log_level": "debug", "registry": {"credentials": login}}
    wanted = {**common, "settings": settings, "secrets": {"registry": SECRET}}
    steps = [
        task("node_config", **wanted, keywords={"check_mode": True, "diff": True}),
        task("node_config", **wanted, keywords={"diff": True}),
        task("node_config", **wanted),
        task("node_config", **common, settings={"log_levle": "debug"}),
        task("node_config", **common, state="absent", secrets={"registry": None}),
    ]
    played = ansible.play(agent.socket_path, *steps, way=way, arguments=["-vvv"])
    planned, made, again, refused, gone = played.results
    assert [result["failed"] for result in played.results] == [False, False, False, True, False]
    assert (planned["changed"], made["changed"], again["changed"], gone["changed"]) == (
        True,
        True,
        False,
        True,
    )
    assert planned["restart_required"] is made["restart_required"] is True
    assert (again["restart_required"], again["reload_required"]) == (False, False)
    assert (made["reload_keys"], made["restart_keys"]) == (["log_level", "secrets"], ["registry"])
    assert "log_levle" in refused["msg"]
    assert SECRET not in played.output + json.dumps(played.results)
    assert "password_file" in played.output  # the diff
    assert [path.name for path in tmp_path.glob("etc/**/*") if path.is_file()] == ["config.toml"]
    assert agent.get("/v1/version")  # it was sent SIGHUP, and goes on


def test_a_node_is_cordoned_and_opened(agent: Daemon, ansible: Ansible) -> None:
    check = {"keywords": {"check_mode": True, "diff": True}}
    disks = {"reason": "new disks"}
    ansible.play_examples(agent.socket_path, "cordon")
    played = ansible.play(
        agent.socket_path,
        task("cordon", **disks, **check), task("cordon", **disks), task("cordon", **disks),
        task("cordon", reason="new memory"), task("node_info"),
        task("cordon", state="absent", **check), task("cordon", state="absent"), task("cordon", state="absent"),
    )  # fmt: skip
    assert played.changed == [True, True, False, True, False, True, True, False], played.output
    assert played.results[0]["diff"]["after"] == {"cordoned": True, **disks}
    assert played.results[4]["node"]["cordon"]["reason"] == "new memory"
    assert agent.get("/v1/node/cordon")["cordoned"] is False
