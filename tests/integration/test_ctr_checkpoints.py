"""`ctr tasks checkpoint`, `ctr containers checkpoint` and `restore` against the agent, unmodified."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn_testing.criu import SecludedDaemon, checkpointing_daemon
from tricorn_testing.ctr import VERSIONS, Ctr, ctr_program, missing_ctr
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]
COUNTER = "i=0; while :; do i=$((i+1)); echo $i >>/ticks; sleep 0.05; done"
DUMP = "application/vnd.containerd.container.criu.checkpoint.criu.tar"
CONFIG = "application/vnd.containerd.container.checkpoint.config.v1+proto"


@pytest.fixture(scope="module")
def ctr_agent() -> Iterator[SecludedDaemon]:
    with checkpointing_daemon() as daemon:
        yield daemon


@pytest.fixture(scope="module", params=VERSIONS)
def ctr(request: pytest.FixtureRequest, ctr_agent: SecludedDaemon) -> Ctr:
    version: str = request.param
    if reason := missing_ctr(version):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    program = ctr_agent.program(ctr_program(version))
    namespace = f"{ctr_agent.directory.name}-{version.replace('.', '')}"
    return Ctr(version, program, ctr_agent.socket_path, namespace, ctr_agent.directory / "fifos")


@pytest.fixture
def counter(ctr: Ctr, busybox: str, container: str, ctr_agent: SecludedDaemon) -> str:
    """A container that counts in its file system."""
    ctr.run("run", "-d", busybox, container, "sh", "-c", COUNTER)
    eventually(lambda: bool(ticks(ctr, ctr_agent, container)))
    return container


@pytest.fixture
def restored(ctr: Ctr, ctr_agent: SecludedDaemon, container: str) -> Iterator[str]:
    """The name of a second container."""
    yield f"{container}-2"
    ctr_agent.delete(f"/v1/{ctr.namespace}/containers/{container}-2", force=True)


def status(ctr: Ctr, name: str) -> str:
    return {row["TASK"]: row["STATUS"] for row in ctr.rows("tasks", "ls")}.get(name, "")


def ticks(ctr: Ctr, daemon: SecludedDaemon, name: str) -> list[int]:
    """Return what the counter wrote, read as the container sees it."""
    pid = {row["TASK"]: int(row["PID"]) for row in ctr.rows("tasks", "ls")}[name]
    try:
        return [int(line) for line in Path(f"/proc/{pid}/root/ticks").read_text().split()]
    except FileNotFoundError:
        return []


def parts(daemon: SecludedDaemon, ctr: Ctr, name: str) -> dict[str, str]:
    """Return the media types of a checkpoint's index, with their digests."""
    digest = next(row["DIGEST"] for row in ctr.rows("images", "ls") if row["REF"] == name)
    index = json.loads(ctr.run("content", "get", digest).stdout)
    return {entry["mediaType"]: entry["digest"] for entry in index["manifests"]}


def test_tasks_checkpoint_leaves_the_task_running(ctr, ctr_agent, counter):
    shown = ctr.run("tasks", "checkpoint", counter).stdout.strip()
    assert re.fullmatch(rf"containerd.io/checkpoint/{counter}:[\d:-]+", shown)
    assert {DUMP, CONFIG} < set(parts(ctr_agent, ctr, shown))
    assert status(ctr, counter) == "RUNNING"
    before = len(ticks(ctr, ctr_agent, counter))
    eventually(lambda: len(ticks(ctr, ctr_agent, counter)) > before)


def test_tasks_checkpoint_with_exit_ends_the_task(ctr, counter):
    ctr.run("tasks", "checkpoint", "--exit", counter)
    eventually(lambda: status(ctr, counter) == "STOPPED")


def test_tasks_checkpoint_into_a_directory_makes_no_image(ctr, ctr_agent, counter):
    images, work = ctr_agent.directory / f"i-{ctr.version}", ctr_agent.directory / f"w-{ctr.version}"
    ctr.run("tasks", "checkpoint", "--image-path", str(images), "--work-path", str(work), counter)
    names = {path.name for path in images.iterdir()}
    assert {"inventory.img", "pstree.img", "descriptors.json"} < names
    assert all(path.stat().st_mode & 0o077 == 0 for path in images.iterdir())
    assert "dump.log" in {path.name for path in work.iterdir()}
    assert status(ctr, counter) == "RUNNING"


def test_containers_checkpoint_and_restore_go_on_counting(ctr, ctr_agent, counter, restored):
    image = f"docker.io/test/checkpoint-{ctr.version}:1"
    ctr.run("containers", "checkpoint", "--rw", "--task", "--image", counter, image)
    assert {DUMP, CONFIG} < set(parts(ctr_agent, ctr, image))
    ctr.run("tasks", "kill", "-s", "SIGKILL", counter)
    eventually(lambda: status(ctr, counter) == "STOPPED")
    ctr.run("containers", "restore", "--rw", "--live", restored, image)
    assert status(ctr, restored) == "RUNNING"
    first = ticks(ctr, ctr_agent, restored)
    eventually(lambda: len(ticks(ctr, ctr_agent, restored)) > len(first))
    now = ticks(ctr, ctr_agent, restored)
    assert now == list(range(1, len(now) + 1))  # nothing lost, nothing twice
    ctr.run("images", "rm", image)
