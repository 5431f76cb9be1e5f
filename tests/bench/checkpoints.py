"""Dump and restore of 60 MB of memory, beside `ctr` and containerd doing the same with the same runc and CRIU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from rig import Bound, Measurement, stopwatch
from sides import OURS, SYSTEM_RUNC, Stage

from tricorn_testing.checkpoint_peer import CheckpointingContainerd
from tricorn_testing.criu import SecludedDaemon, checkpointing_daemon, missing_criu
from tricorn_testing.ctr import Ctr, ctr_program, missing_ctr
from tricorn_testing.waiting import eventually

MEGABYTES: Final = 60
# tail keeps the bytes that it is to print at the end in its own memory
WORKLOAD: Final = f"(head -c {MEGABYTES}000000 /dev/urandom; sleep 100000) | tail -c {MEGABYTES}000000"
VERSION: Final = "2.1"
PEER: Final = "containerd 2, ctr"
BY_CTR: Final = f"{OURS}, ctr"
NS: Final = "default"
ARGUMENTS: Final = ("/bin/sh", "-c", WORKLOAD)


@frozen
class Side:
    """How one side starts the workload (returning its process), dumps it, restores it, and removes both."""

    start: Callable[[str], int]
    dump: Callable[[str, str], object]
    restore: Callable[[str, str], object]
    remove: Callable[[str], None]
    forget: Callable[[str], object]


def checkpoints(stage: Stage) -> Iterator[Measurement]:
    """Yield how long a dump takes that lets the container go on, and how long a restore."""
    what = f"of {MEGABYTES} MB of memory, image included"
    dump = Measurement("checkpoint", f"checkpoint {what}; the container goes on", "ms")
    restore = Measurement("restore", f"restore {what}", "ms")
    if reason := missing_criu() or missing_ctr(VERSION):
        for result in (dump, restore):
            result.notes.append(f"not measured: {reason}")
        yield from (dump, restore)
        return
    with _sides(stage.small.reference) as sides:
        for number in range(stage.plan.rounds):
            for index, (name, side) in enumerate(sides.items()):
                _round(side, f"c{number}-{index}", max(2, stage.plan.runs // 3), name, dump, restore)
    for result in (dump, restore):
        result.bounds = [Bound(OURS, PEER, 1.4), Bound(BY_CTR, PEER, 1.25)]
    yield from (dump, restore)


def _round(side: Side, key: str, runs: int, name: str, dump: Measurement, restore: Measurement) -> None:
    """The first container is gone before the second comes: `ctr` puts both into one control group."""
    dumps: list[float] = []
    restores: list[float] = []
    for run in range(runs):
        image, origin, again = f"docker.io/bench/{key}:{run}", f"{key}-{run}", f"{key}-{run}-again"
        pid = side.start(origin)
        eventually(lambda pid=pid: _resident(pid) > (MEGABYTES - 1) * 1_000_000)
        with stopwatch(dumps):
            side.dump(origin, image)
        side.remove(origin)
        with stopwatch(restores):
            side.restore(image, again)
        side.remove(again)
        side.forget(image)
    dump.side(name).add_round(dumps)
    restore.side(name).add_round(restores)


def _resident(pid: int) -> int:
    """Return the bytes that a shell's children have in memory: one of them holds them."""
    total = 0
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            with contextlib.suppress(OSError):
                total = max(total, int(Path(f"/proc/{child}/statm").read_text().split()[1]) * 4096)
    return total


@contextlib.contextmanager
def _sides(reference: str) -> Iterator[dict[str, Side]]:
    with checkpointing_daemon() as agent:
        agent.put(f"/v1/{NS}/images", {"reference": reference, "plain_http": True})
        ours = Ctr(
            VERSION, agent.program(ctr_program(VERSION)), agent.socket_path, NS, agent.directory / "fifos"
        )
        peer = CheckpointingContainerd(agent.directory / "peer", f"{agent.directory.name}-c", version=VERSION)
        try:
            peer.start()
            theirs = peer.inside()
            theirs.run("images", "pull", "--plain-http", reference)
            yield {OURS: _own(agent, reference), BY_CTR: _by(ours, reference), PEER: _by(theirs, reference)}
        finally:
            peer.stop()


def _own(agent: SecludedDaemon, reference: str) -> Side:
    def start(name: str) -> int:
        wanted = {"image": reference, "args": list(ARGUMENTS), "runtime": "runc"}
        agent.put(f"/v1/{NS}/containers/{name}", wanted)
        return int(agent.get(f"/v1/{NS}/containers/{name}")["task"]["pid"])

    def dump(name: str, image: str) -> Any:
        body = {"image": image, "leave_running": True}
        return agent.post(f"/v1/{NS}/containers/{name}/checkpoint", body)

    def restore(image: str, name: str) -> Any:
        return agent.post(f"/v1/{NS}/checkpoints/restore", {"image": image, "id": name, "container": {
            "image": "", "args": list(ARGUMENTS), "runtime": "runc",
        }})  # fmt: skip

    return Side(
        start, dump, restore,
        lambda name: agent.delete(f"/v1/{NS}/containers/{name}", force=True),
        lambda image: agent.delete(f"/v1/{NS}/images/{image.replace('/', '%2F')}"),
    )  # fmt: skip


def _by(ctr: Ctr, reference: str) -> Side:
    def start(name: str) -> int:
        ctr.run("run", "-d", "--runc-binary", SYSTEM_RUNC, reference, name, *ARGUMENTS)
        return int(next(row["PID"] for row in ctr.rows("tasks", "ls") if row["TASK"] == name))

    def remove(name: str) -> None:
        ctr.run("tasks", "rm", "-f", name)
        ctr.run("containers", "rm", name)

    return Side(
        start,
        lambda name, image: ctr.run("containers", "checkpoint", "--rw", "--task", "--image", name, image),
        lambda image, name: ctr.run("containers", "restore", "--rw", "--live", name, image),
        remove,
        lambda image: ctr.run("images", "rm", image),
    )  # fmt: skip


ALL: Final = {"checkpoints": checkpoints}
