"""Containers that go on before they have their memory: none of it is lost while the agent is away, and one that
can't get the rest of it is ended.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.criu import checkpointing_daemon, need_criu
from tricorn_testing.daemon import ApiError, Daemon
from tricorn_testing.lazy import Brake, heavy_container, heavy_image, number, serving, told, zombie
from tricorn_testing.paths import found
from tricorn_testing.registry import Registry
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]
NS = "default"
IMAGE = "lazy.example/heavy:live"


@pytest.fixture(scope="module")
def braking(tmp_path_factory: pytest.TempPathFactory) -> Brake:
    need_criu()
    made = Brake(tmp_path_factory.mktemp("brake"))
    made.write()
    return made


@pytest.fixture(scope="module")
def agent(braking: Brake) -> Iterator[Daemon]:
    with checkpointing_daemon(str(braking.program)) as daemon:
        found = {item["name"]: item for item in daemon.get("/v1/info")["capabilities"]}
        if not found["lazy-restore"]["available"]:
            pytest.skip(found["lazy-restore"]["reason"])
        yield daemon


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def desired(
    agent: Daemon, place: Path, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """A heavy program, of which there is a checkpoint."""
    image = heavy_image(registry, tmp_path_factory.mktemp("heavy"))
    agent.put(f"/v1/{NS}/images", {"reference": image, "plain_http": True})
    wanted = heavy_container(image, place)
    agent.put(f"/v1/{NS}/containers/heavy", wanted)
    eventually(lambda: number(place) > 0)
    agent.post(f"/v1/{NS}/containers/heavy/checkpoint", {"image": IMAGE})
    agent.delete(f"/v1/{NS}/containers/heavy", force=True)
    return wanted


@pytest.fixture
def brake(agent: Daemon, braking: Brake) -> Iterator[Brake]:
    with braking as made:
        try:
            yield made
        finally:
            agent.delete(f"/v1/{NS}/containers/light", force=True)
    eventually(lambda: not found(agent.root, "restores/*/*"), "a dump was left")


def status(agent: Daemon) -> str:
    return str(agent.get(f"/v1/{NS}/containers/light")["task"]["status"])


def restore(agent: Daemon, desired: dict[str, Any]) -> None:
    body = {"image": IMAGE, "id": "light", "container": desired, "lazy": True}
    agent.post(f"/v1/{NS}/checkpoints/restore", body)


def test_it_goes_on_while_its_memory_comes_and_the_agent_is_killed(
    agent: Daemon, place: Path, desired: dict[str, Any], brake: Brake
) -> None:
    dump = agent.root / f"restores/{NS}/light"
    last, expected = told(place)
    restore(agent, desired)
    brake.hold()
    assert dump.exists()
    assert status(agent) == "running"
    with pytest.raises(ApiError, match="still being given its memory"):
        agent.post(f"/v1/{NS}/containers/light/checkpoint", {"leave_running": True})
    agent.kill()
    agent.start()
    assert dump.exists()
    assert status(agent) == "running"
    before = number(place)
    brake.release()
    eventually(lambda: not dump.exists(), "the dump stays")
    eventually(lambda: number(place) > max(before, int(last)) + 1)
    assert told(place)[1] == expected


def test_one_that_lost_its_memory_is_ended(
    agent: Daemon, place: Path, desired: dict[str, Any], brake: Brake
) -> None:
    restore(agent, desired)
    brake.hold()
    seen = told(place)
    os.killpg(serving(agent.state, "light"), signal.SIGKILL)
    eventually(lambda: status(agent) == "stopped")
    assert told(place)[1] == seen[1], "it went on with less"


def test_one_that_lost_it_while_nobody_looked_is_ended(
    agent: Daemon, place: Path, desired: dict[str, Any], brake: Brake
) -> None:
    restore(agent, desired)
    brake.hold()
    agent.kill()
    os.killpg(serving(agent.state, "light"), signal.SIGKILL)
    agent.start()
    eventually(lambda: status(agent) == "stopped")


def test_by_the_command_line_and_removed_amid_it(
    agent: Daemon, desired: dict[str, Any], brake: Brake
) -> None:
    mounts = [
        f"{each['source']}:{each['target']}:{','.join(each.get('options', ['rw']))}"
        for each in desired["mounts"]
    ]
    options = [word for mount in mounts for word in ("-v", mount)]
    done = agent.cli("--json", "restore", "--lazy", *options, IMAGE, "light")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == "light"
    brake.hold()
    group = serving(agent.state, "light")
    agent.delete(f"/v1/{NS}/containers/light", force=True)  # in the midst of it
    eventually(lambda: zombie(group))
    agent.put(f"/v1/{NS}/containers/light", {**desired, "args": ["sleep", "1000"], "stop_timeout": 0.1})
