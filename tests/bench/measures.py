"""What is measured. Sides alternate within each round, so that a busy moment hits all of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import checkpoints
import density
import distribution
import grpc_measures
import migration
from containerd_peer import ContainerdPeer
from fleets import fleets, parallel
from rig import Bound, Measurement, stopwatch
from sides import NEW, NEW_CRUN, OLD, OURS, SYSTEM_RUNC, Stage
from tricorn_side import TricornSide

from tricorn_testing.processes import proportional_kib, resident_kib

Side = TricornSide | ContainerdPeer


def run(stage: Stage) -> Measurement:
    """create → start → exit → delete of `true` through each side's API."""
    result = Measurement("run", "create → start → exit → delete of `true`, own network namespace", "ms")
    usable = stage.tricorn.runtimes()
    ours = [name for name in (NEW_CRUN, "crun", "runc") if usable.get(name, {}).get("usable")]
    chain, reference = stage.small.chain_id, stage.small.reference
    newest, same = f"{NEW}, its runc", f"{NEW}, the system's runc"
    sides: dict[str, tuple[Side, Callable[[str], None]]] = {
        f"{OURS}, {name}": (
            stage.tricorn,
            lambda key, name=name: stage.tricorn.run_once(key, reference, name),
        )
        for name in ours
    }
    sides[newest] = (stage.new, lambda key: stage.new.run_once(key, chain))
    sides[same] = (stage.new, lambda key: stage.new.run_once(key, chain, SYSTEM_RUNC))
    sides[f"{OLD}, the system's runc"] = (stage.old, lambda key: stage.old.run_once(key, chain))
    for number in range(stage.plan.rounds):
        for index, (name, (side, once)) in enumerate(sides.items()):
            once(f"warm-{number}-{index}")
            side.laps.take()
            samples: list[float] = []
            before = side.meter.seconds()
            for sample in range(stage.plan.runs):
                with stopwatch(samples):
                    once(f"r{number}-{index}-{sample}")
            result.side(name).add_round(samples, side.meter.seconds() - before)
            if number == stage.plan.rounds - 1:
                result.notes.append(f"{name}: {side.laps.take()} ms in the last round")
    limits = {NEW_CRUN: (newest, 0.55), "crun": (newest, 0.55), "runc": (same, 0.80)}
    result.bounds = [Bound(f"{OURS}, {name}", *limits[name]) for name in ours]
    result.notes.append("the aim: 0.40 with crun, 0.60 with runc")
    result.notes.append("all sides load the same seccomp profile, Tricorn's default")
    if "crun" not in ours:
        result.notes.append(f"crun can't run here: {usable.get('crun', {}).get('reason', 'not installed')}")
    return result


def commands(stage: Stage) -> Measurement:
    """The same run as a person types it: `tricorn run --rm` beside `ctr run --rm`, and bare `version`."""
    result = Measurement("commands", "command lines, from the shell's view", "ms")
    reference = stage.small.reference
    sides: dict[str, Callable[[str], object]] = {
        "tricorn run --rm": lambda key: stage.tricorn.cli(
            "run", "--rm", "--name", key, reference, "/bin/true"
        ),
        f"ctr run --rm ({NEW})": lambda key: stage.new.ctr("run", "--rm", reference, key, "/bin/true"),
        f"ctr run --rm ({OLD})": lambda key: stage.old.ctr("run", "--rm", reference, key, "/bin/true"),
        "tricorn version": lambda _: stage.tricorn.cli("version"),
        f"ctr version ({NEW})": lambda _: stage.new.ctr("version"),
    }
    for number in range(stage.plan.rounds):
        for index, (name, once) in enumerate(sides.items()):
            samples: list[float] = []
            for sample in range(max(3, stage.plan.runs // 2)):
                with stopwatch(samples):
                    once(f"c{number}-{index}-{sample}")
            result.side(name).add_round(samples)
    return result


def memory(stage: Stage) -> Measurement:
    """Memory of what watches one container, at `plan.containers` of them."""
    count = stage.plan.containers
    result = Measurement("memory", f"memory per container at {count} (PSS of its monitor)", "MB")
    for name, fleet in fleets(stage).items():
        names = [f"m{index}" for index in range(count)]
        parallel(fleet.start, names)
        time.sleep(1)
        result.side(name).add_round([sum(map(proportional_kib, fleet.monitors())) / count / 1024])
        parallel(fleet.end, names)
    result.bounds = [Bound(OURS, NEW, 0.10)]
    return result


def start_many(stage: Stage) -> Measurement:
    """How long until `plan.containers` run, four asked for at a time."""
    count = stage.plan.containers
    result = Measurement("start-many", f"{count} containers created and started, 4 at a time", "s")
    for number in range(max(1, stage.plan.rounds - 1)):
        for name, fleet in fleets(stage).items():
            names = [f"s{number}-{index}" for index in range(count)]
            samples: list[float] = []
            before = fleet.side.meter.seconds()
            with stopwatch(samples):
                parallel(fleet.start, names)
            result.side(name).add_round(samples, fleet.side.meter.seconds() - before)
            parallel(fleet.end, names)
    result.bounds = [Bound(OURS, NEW, 0.40)]
    return result


def call(stage: Stage) -> Measurement:
    """One small request on a kept connection, each through a Python client."""
    result = Measurement("call", "one small request: version, Python clients", "ms")
    sides: dict[str, Callable[[], object]] = {OURS: stage.tricorn.version, NEW: stage.new.ask_version}
    for _ in range(stage.plan.rounds):
        for name, ask in sides.items():
            samples: list[float] = []
            for _ in range(500):
                with stopwatch(samples):
                    ask()
            result.side(name).add_round(samples)
    result.bounds = [Bound(OURS, NEW, 5.0)]
    return result


def rest(stage: Stage) -> Measurement:
    """Memory of each daemon, a moment after it has worked."""
    result = Measurement("rest", "the daemon at rest (RSS)", "MB")
    time.sleep(2)
    for name, pid in ((OURS, stage.tricorn.pid), (NEW, stage.new.pid), (OLD, stage.old.pid)):
        result.side(name).add_round([resident_kib(pid) / 1024])
    result.bounds = [Bound(OURS, NEW, 1.30)]
    return result


def ansible(stage: Stage) -> Measurement:
    """One task through the relay beside one `ping`, the module that does nothing: marginal cost of each."""
    from ansible_tasks import TaskTimer

    result = Measurement("ansible", "one Ansible task on a local connection", "ms")
    timer = TaskTimer(stage.work / "ansible", stage.tricorn.daemon.socket_path, Path(sys.executable).parent)
    tasks = {"relay: node_info": timer.node_info, "ping": timer.ping}
    for _ in range(stage.plan.rounds):
        for name, task in tasks.items():
            result.side(name).add_round([timer.marginal(task)])
    result.bounds = [Bound("relay: node_info", "ping", 0.25)]
    return result


ALONE: dict[str, Callable[[Stage], Measurement]] = {
    "rest": rest,
    "run": run,
    "commands": commands,
    "call": call,
    "memory": memory,
    "start-many": start_many,
    "ansible": ansible,
    **grpc_measures.ALL,
    **migration.ALL,
}
SEVERAL = {**checkpoints.ALL, **density.ALL, **distribution.ALL}
NAMES = (*ALONE, *SEVERAL)


def measure(name: str, stage: Stage) -> Iterator[Measurement]:
    """Yield what goes by a name: one measurement, or several."""
    if name in ALONE:
        yield ALONE[name](stage)
    else:
        yield from SEVERAL[name](stage)
