"""Checkpoints between this agent and a real containerd: each restores what the other has dumped."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn_testing.checkpoint_peer import CheckpointingContainerd
from tricorn_testing.criu import SecludedDaemon, checkpointing_daemon
from tricorn_testing.ctr import Ctr, ctr_program, missing_ctr
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]
COUNTER = "i=0; while :; do i=$((i+1)); echo $i >>/ticks; sleep 0.05; done"
VERSION = "2.1"


@pytest.fixture(scope="module")
def ours() -> Iterator[SecludedDaemon]:
    if reason := missing_ctr(VERSION):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    with checkpointing_daemon() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def agent_ctr(ours: SecludedDaemon) -> Ctr:
    program = ours.program(ctr_program(VERSION))
    return Ctr(VERSION, program, ours.socket_path, f"{ours.directory.name}-a", ours.directory / "fifos")


@pytest.fixture(scope="module")
def containerd_ctr(ours: SecludedDaemon) -> Iterator[Ctr]:
    daemon = CheckpointingContainerd(ours.directory / "peer", f"{ours.directory.name}-c", version=VERSION)
    try:
        daemon.start()
        yield daemon.inside()
    except BaseException:
        print(daemon.log[-6000:])
        raise
    finally:
        daemon.stop()


def tasks(ctr: Ctr) -> dict[str, tuple[int, str]]:
    return {row["TASK"]: (int(row["PID"]), row["STATUS"]) for row in ctr.rows("tasks", "ls")}


def ticks(ctr: Ctr, name: str) -> list[int]:
    try:
        text = Path(f"/proc/{tasks(ctr)[name][0]}/root/ticks").read_text()
    except FileNotFoundError:
        return []
    return [int(line) for line in re.findall(r"^(\d+)$", text, re.MULTILINE)]


def test_each_restores_what_the_other_has_dumped(agent_ctr, containerd_ctr, busybox_reference, tmp_path):
    image = "docker.io/test/interop:1"
    for number, (source, target) in enumerate([(agent_ctr, containerd_ctr), (containerd_ctr, agent_ctr)]):
        name, other = f"count{number}", f"again{number}"
        if number == 0:
            source.run("images", "pull", "--plain-http", busybox_reference)
            archive = tmp_path / "base.tar"
            source.export(archive, busybox_reference)
            target.run("images", "import", str(archive))
        source.run("run", "-d", busybox_reference, name, "sh", "-c", COUNTER)
        eventually(lambda source=source, name=name: len(ticks(source, name)) > 3)
        source.run("containers", "checkpoint", "--rw", "--task", "--image", name, image)
        source.run("tasks", "kill", "-s", "SIGKILL", name)
        moved = tmp_path / f"checkpoint{number}.tar"
        source.export(moved, "--all-platforms", "--skip-manifest-json", image)
        source.run("images", "rm", image)
        target.run("images", "import", "--all-platforms", "--no-unpack", str(moved))
        target.run("containers", "restore", "--rw", "--live", other, image)
        assert tasks(target)[other][1] == "RUNNING"
        first = len(ticks(target, other))
        eventually(lambda target=target, other=other, first=first: len(ticks(target, other)) > first)
        seen = ticks(target, other)
        assert seen == list(range(1, len(seen) + 1))
        for ctr, left in ((source, name), (target, other)):
            ctr.run("tasks", "rm", "-f", left)
            ctr.run("containers", "rm", left)
        target.run("images", "rm", image)
