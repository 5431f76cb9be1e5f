"""Many containers on one node: what each costs in memory, how long all of them take to go, what stays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from fleets import Fleet, fleets, parallel
from rig import Bound, Measurement, stopwatch
from sides import NEW, OURS, Stage
from tricorn_side import NAMESPACE

from tricorn_testing import inventory
from tricorn_testing.processes import proportional_kib, resident_kib

SETTLING: Final = 60.0  # seconds for what follows the answers of deletions


def density(stage: Stage) -> Iterator[Measurement]:
    """Start `plan.dense` containers on each side, weigh them, kill and delete them all."""
    count = stage.plan.dense
    weight = Measurement(
        "density", f"memory per container at {count}, monitor (PSS) and daemon's growth", "MB"
    )
    start = Measurement("density-start", f"{count} containers created and started, 4 at a time", "s")
    stop = Measurement("density-stop", f"{count} running containers killed and deleted, 4 at a time", "s")
    before = _at_rest(stage)
    for name, fleet in fleets(stage, sides=(OURS, NEW)).items():
        names = [f"d{index}" for index in range(count)]
        resident = resident_kib(fleet.side.pid)
        _timed(start, name, fleet, fleet.start, names)
        time.sleep(1)
        grown = resident_kib(fleet.side.pid) - resident
        monitors = fleet.monitors()
        if len(monitors) != count:
            raise RuntimeError(f"{name}: {len(monitors)} monitors of {count} containers")
        weight.side(name).add_round([(sum(map(proportional_kib, monitors)) + grown) / count / 1024])
        weight.notes.append(f"{name}: its daemon grew by {grown / 1024:.0f} MB")
        _timed(stop, name, fleet, fleet.end, names)
        if fleet.monitors():
            raise RuntimeError(f"{name}: monitors outlive their containers")
    leaked = _left(stage, before)
    stop.notes.append(f"{OURS}: left on the machine: {leaked or 'nothing'}")
    weight.bounds, start.bounds = [Bound(OURS, NEW, 0.10)], [Bound(OURS, NEW, 0.40)]
    yield from (weight, start, stop)
    if leaked:
        raise RuntimeError(f"containers that are gone have left {leaked}")


def _timed(
    result: Measurement, name: str, fleet: Fleet, work: Callable[[str], None], names: Sequence[str]
) -> None:
    samples: list[float] = []
    before = fleet.side.meter.seconds()
    with stopwatch(samples):
        parallel(work, names)
    result.side(name).add_round(samples, fleet.side.meter.seconds() - before)


def _at_rest(stage: Stage) -> inventory.Inventory:
    """Return what our side has once it has had a container, whose directories it keeps."""
    fleet = fleets(stage, sides=(OURS,))[OURS]
    fleet.start("first")
    fleet.end("first")
    stage.tricorn.hang_up()
    deadline = time.monotonic() + SETTLING
    while (found := inventory.look(stage.tricorn.daemon, NAMESPACE)).cgroups or fleet.monitors():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the first container has left {found}")
        time.sleep(0.5)
    return found


def _left(stage: Stage, before: inventory.Inventory) -> dict[str, list[str]]:
    """Return what our side has more of than before, once all that follows a deletion is done."""
    deadline = time.monotonic() + SETTLING
    while True:
        stage.tricorn.call("POST", "/v1/gc")
        stage.tricorn.hang_up()
        found = inventory.look(stage.tricorn.daemon, NAMESPACE).since(before)
        leaked = {name: items for name, items in found.items() if items}
        if not leaked or time.monotonic() > deadline:
            return leaked
        time.sleep(0.5)


ALL: Final = {"density": density}
