"""What is measured of distribution: pull and unpack, push, import, diff, beside containerd.

Tricorn is asked through its HTTP API on a kept connection, containerd through `ctr`, whose start takes
some 15 ms. The CPU time is that of the daemon and all its children; memory is the largest sum of their PSS.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import floors
import shapes
from attrs import evolve
from containerd_peer import ContainerdPeer
from footprint import watching
from plain_client import PIPES, UPLOADS, PlainClient
from rig import Bound, Ceiling, Measurement, Series, settle, stopwatch
from shapes import Shape
from sides import NEW, OLD, OURS, PARALLEL, Stage
from tricorn_side import TricornSide

from tricorn_testing.registry import running_registry

Side = TricornSide | ContainerdPeer
Metered = Side | PlainClient
Rounds = int | None  # in how many rounds a side takes part; None: in all
Contender = tuple[Metered, Callable[[], object], Callable[[], object], Rounds]  # side, work, undo, rounds

COMMAND: Final = f"{OURS}, command line"
FLOOR: Final = "floor"
MEMORY: Final = 150.0  # MiB of the agent and its children, whatever the image
WALL: Final = {"distro": 0.45, "many": 0.40, "layers": 0.40, "large": 0.60}
CPU: Final = {"distro": 0.60, "many": 0.60, "layers": 0.60}
PUSHED: Final = ("distro", "layers", "large")
IMPORTED: Final = ("distro", "layers")
DIFF_TYPES: Final = {
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}


def alternate(result: Measurement, contenders: dict[str, Contender], rounds: int, written: int = 0) -> None:
    """Run all sides in each round; disks are quiet before each, and rested from the bytes it writes."""
    for number in range(rounds):
        for label in _order(list(contenders), number):
            side, work, undo, most = contenders[label]
            if most is None or number < most:
                settle(written)
                _once(result.side(label), side, work)
                undo()


def _order(labels: Sequence[str], number: int) -> Sequence[str]:
    """Begin each round with another side, and run every other one backwards: none always follows the same."""
    first = number % len(labels)
    turned = [*labels[first:], *labels[:first]]
    return turned[::-1] if number % 2 else turned


def _once(series: Series, side: Metered, work: Callable[[], object]) -> None:
    samples: list[float] = []
    before = side.meter.seconds()
    with watching(side.meter) as footprint, stopwatch(samples):
        work()
    series.add_round(samples, side.meter.seconds() - before, footprint.peak)


# ------------------------------------------------------------------ pull
def pull(stage: Stage) -> Iterator[Measurement]:
    """Pull and unpack from one local registry; before each, all of the image is gone."""
    for name in stage.plan.shapes:
        for compression in shapes.COMPRESSIONS:
            shape = shapes.shape(stage.work / "layouts", name, compression, quick=stage.plan.quick)
            yield _pull(stage, shape)


def _pull(stage: Stage, shape: Shape) -> Measurement:
    result = Measurement(f"pull-{shape.name}-{shape.compression}", f"pull + unpack of {shape.title}", "s")
    reference = shape.push(stage.registry)
    floor = floors.measure(shape, stage.registry, stage.ground)
    gzip = shape.compression == "gzip"

    def contender(side: Side, rounds: Rounds = None) -> Contender:
        return side, lambda: side.pull(reference), lambda: side.forget(reference), rounds

    contenders = {OURS: contender(stage.tricorn), NEW: contender(stage.new)}
    rounds = stage.plan.pulls
    contenders[PARALLEL] = contender(stage.parallel, max(1, rounds - 1))
    if gzip:
        contenders[OLD] = contender(stage.old, 1)
    if shape.name == "tiny":
        side = stage.tricorn
        contenders[COMMAND] = (
            side,
            lambda: side.pull_by_command(reference),
            lambda: side.forget(reference),
            None,
        )
    plain, place = PlainClient(), stage.ground / "pipes"
    contenders[PIPES] = (
        plain, lambda: plain.pull(shape, stage.registry, place), lambda: shutil.rmtree(place), contenders[PARALLEL][3],
    )  # fmt: skip
    try:
        alternate(result, contenders, 3 * rounds if shape.name == "tiny" else rounds, shape.written)
    finally:
        plain.meter.remove()
    result.side(FLOOR).add_round([floor.wall], floor.cpu)
    result.notes.append(floor.describe())
    _bind(result, (NEW, PARALLEL), WALL.get(shape.name), CPU.get(shape.name))
    if of_bounds := ", ".join(_beneath(result)):
        result.notes.append(f"the floor alone is {of_bounds}")
    return result


def _beneath(result: Measurement) -> Iterator[str]:
    """Tell what no pull could do better than, in the terms of the bounds."""
    for bound in result.bounds:
        if isinstance(bound, Bound):
            floor = evolve(bound, ours=FLOOR)
            yield f"{floor.measured(result.series):.2f} × the {bound.of} time of {bound.theirs}"


def _bind(result: Measurement, peers: Sequence[str], wall: float | None, cpu: float | None) -> None:
    """Hold our side to ratios against the better of `peers`, which need not be the same one for both."""
    bounds: list[Bound | Ceiling] = []
    if wall is not None:
        fastest = min(peers, key=lambda label: result.series[label].median)
        bounds.append(Bound(OURS, fastest, wall))
    if cpu is not None:
        thriftiest = min(peers, key=lambda label: result.series[label].median_cpu or 0.0)
        bounds.append(Bound(OURS, thriftiest, cpu, "cpu"))
    result.bounds = [*bounds, Ceiling(OURS, MEMORY, "peak")]


# ------------------------------------------------------------------ push
def push(stage: Stage) -> Iterator[Measurement]:
    """Push to a second, empty registry on the journaled file system."""
    for name in [name for name in stage.plan.shapes if name in PUSHED]:
        shape = shapes.shape(stage.work / "layouts", name, "gzip", quick=stage.plan.quick)
        yield _push(stage, shape)


def _push(stage: Stage, shape: Shape) -> Measurement:
    result = Measurement(f"push-{shape.name}", f"push of {shape.title}", "s")
    reference = shape.push(stage.registry)
    place = stage.ground / "pushed"
    with running_registry(place) as target:

        def empty() -> None:
            shutil.rmtree(place / "storage", ignore_errors=True)

        def contender(side: Side) -> Contender:
            return side, lambda: side.push(reference, f"{target.address}/pushed/{shape.name}:1"), empty, None

        sides: dict[str, Side] = {OURS: stage.tricorn, NEW: stage.new}
        for side in sides.values():
            side.pull(reference)
        plain = PlainClient()
        base = f"http://{target.address}/v2/pushed/{shape.name}"
        contenders = {label: contender(side) for label, side in sides.items()}
        contenders[UPLOADS] = plain, lambda: plain.push(shape, base), empty, None
        # nearly all of it is the registry's time, on a disk whose speed comes and goes
        try:
            alternate(result, contenders, 3 * stage.plan.pulls, shape.written)
        finally:
            plain.meter.remove()
        for side in sides.values():
            side.forget(reference)
        empty()
    _bind(result, (NEW,), 1.0, None)
    alone = Bound(UPLOADS, NEW, 1.0).measured(result.series)
    result.notes.append(f"the registry's time for the blobs alone is {alone:.2f} × the wall time of {NEW}")
    return result


# ------------------------------------------------------------------ import
def import_(stage: Stage) -> Iterator[Measurement]:
    """Read an archive in the form of an OCI layout and unpack what it has."""
    for name in [name for name in stage.plan.shapes if name in IMPORTED]:
        shape = shapes.shape(stage.work / "layouts", name, "gzip", quick=stage.plan.quick)
        yield _import(stage, shape)


def _import(stage: Stage, shape: Shape) -> Measurement:
    result = Measurement(f"import-{shape.name}", f"import + unpack of an archive: {shape.title}", "s")
    archive = shape.layout.archive(stage.ground / "archive.tar")
    name = f"bench.local/{shape.name}"

    def contender(side: Side) -> Contender:
        return side, lambda: side.import_archive(archive, name), lambda: side.forget(f"{name}:1"), None

    contenders = {OURS: contender(stage.tricorn), NEW: contender(stage.new)}
    alternate(result, contenders, stage.plan.pulls, shape.written)
    archive.unlink()
    _bind(result, (NEW,), None, None)
    return result


# ------------------------------------------------------------------ diff
def diff(stage: Stage) -> Iterator[Measurement]:
    """The layer of a container's changes, the same `ctr` asking both sides."""
    shape = shapes.shape(stage.work / "layouts", "distro", "gzip")
    reference = shape.push(stage.registry)
    addresses = {OURS: stage.tricorn.daemon.socket_path, NEW: stage.new.address}
    sides: dict[str, Side] = {OURS: stage.tricorn, NEW: stage.new}
    for label, side in sides.items():
        side.pull(reference)
        _change(stage, shape, addresses[label])
    for compression in shapes.COMPRESSIONS:
        yield _diff(stage, sides, addresses, compression)
    for label, side in sides.items():
        stage.new.ctr("snapshots", "rm", "changed", address=addresses[label])
        side.forget(reference)


def _change(stage: Stage, shape: Shape, address: str) -> None:
    """Unpack the distribution once more into a snapshot on top of it, and remove what it has below."""
    stage.new.ctr("snapshots", "prepare", "changed", shape.chain_id, address=address)
    point = stage.ground / "changed"
    point.mkdir(exist_ok=True)
    mount = stage.new.ctr("snapshots", "mounts", str(point), "changed", address=address).stdout
    subprocess.run(["sh", "-c", mount], check=True)
    try:
        (point / "copy").mkdir()
        subprocess.run(["tar", "-x", "-f", str(shape.tars[0]), "-C", str(point / "copy")], check=True)
        for name in ("usr/share/doc", "usr/share/perl", "var/lib/dpkg/info"):
            shutil.rmtree(point / name)
    finally:
        subprocess.run(["umount", str(point)], check=True)


def _diff(stage: Stage, sides: dict[str, Side], addresses: dict[str, str], compression: str) -> Measurement:
    title = f"diff of a changed snapshot (a distribution's files): {compression}"
    result = Measurement(f"diff-{compression}", title, "s")
    sizes: dict[str, int] = {}

    def contender(label: str) -> Contender:
        def work() -> None:
            sizes[label] = stage.new.diff("changed", DIFF_TYPES[compression], addresses[label])

        return sides[label], work, lambda: None, None

    alternate(result, {label: contender(label) for label in sides}, stage.plan.pulls)
    told = ", ".join(f"{label} {size / 1e6:.1f} MB" for label, size in sizes.items())
    result.notes.append(f"sizes: {told}")
    _bind(result, (NEW,), 0.5 if compression == "gzip" else None, None)
    return result


ALL: dict[str, Callable[[Stage], Iterator[Measurement]]] = {
    "pull": pull,
    "push": push,
    "import": import_,
    "diff": diff,
}
