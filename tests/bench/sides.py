"""Everything a measurement works on: both kinds of sides, the images, how often."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pictures
from attrs import frozen
from containerd_peer import ContainerdPeer
from pictures import Picture
from rig import journaled_filesystem
from shapes import SHAPES
from tricorn_side import TricornSide

from tricorn_testing.packages import Release, make_runnable
from tricorn_testing.paths import short_directory
from tricorn_testing.registry import Registry, running_registry

NEW = "containerd 2"  # sid's, the baseline of every bound
PARALLEL = "containerd 2, parallel"  # the same with concurrent fetches of one layer
OLD = "containerd 1.6"  # Debian 12's own
OURS = "tricorn"
NEW_CRUN = "crun-sid"  # of the same Debian release as the baseline
SYSTEM_RUNC = "/usr/sbin/runc"
CONCURRENT = """\
[plugins."io.containerd.transfer.v1.local"]
  max_concurrent_downloads = 4
  concurrent_layer_fetch_buffer = 8388608
"""


@frozen
class Plan:
    """How much is measured: `rounds` alternate between the sides, `runs` are the samples of one."""

    rounds: int = 3
    runs: int = 12
    containers: int = 100
    dense: int = 500
    pulls: int = 5  # one takes a tenth more or less than the next, on a quiet machine, too
    shapes: tuple[str, ...] = tuple(SHAPES)  # of images, for what measures distribution
    quick: bool = False


QUICK = Plan(rounds=2, runs=5, containers=20, dense=50, pulls=1, quick=True)


@frozen
class Stage:
    plan: Plan
    work: Path
    ground: Path  # the journaled file system
    registry: Registry
    tricorn: TricornSide
    new: ContainerdPeer
    parallel: ContainerdPeer
    old: ContainerdPeer
    small: Picture

    @property
    def peers(self) -> dict[str, ContainerdPeer]:
        return {NEW: self.new, OLD: self.old}

    def versions(self) -> dict[str, str]:
        return {OURS: self.tricorn.version()} | {name: peer.version() for name, peer in self.peers.items()}


@contextlib.contextmanager
def stage(plan: Plan, work: Path) -> Iterator[Stage]:
    """Prepare the ground, start all sides, pull the small image everywhere; undo it all at the end."""
    work.mkdir(parents=True, exist_ok=True)
    sid = Release("sid", work / "sid")
    prefix = sid.unpack("containerd", "runc")
    make_runnable(prefix / "usr/sbin/runc", sid)
    crun = sid.unpack("crun") / "usr/bin/crun"
    make_runnable(crun, sid, "libblake3-0", "libcap2", "libjson-c5", "libsystemd0")
    with contextlib.ExitStack() as undo:
        state = _state_directory(undo)
        ground = undo.enter_context(journaled_filesystem(work / "ground.img", work / "ground"))
        (work / "layouts").mkdir(exist_ok=True)
        registry = undo.enter_context(running_registry(work / "registry"))
        new = ContainerdPeer("new", prefix, ground / "new", state / "new")
        parallel = ContainerdPeer("parallel", prefix, ground / "parallel", state / "par", CONCURRENT)
        old = ContainerdPeer("old", Path("/"), ground / "old", state / "old")
        ours = TricornSide(ground / "tricorn", state / "tricorn", {NEW_CRUN: str(crun)})
        for side in (new, parallel, old, ours):
            undo.callback(side.stop)
            side.start()
        small = pictures.small(work / "layouts", registry)
        for side in (new, old, ours):
            side.pull(small.reference)
        new.seccomp = old.seccomp = ours.seccomp(small.reference)
        yield Stage(plan, work, ground, registry, ours, new, parallel, old, small)


def _state_directory(undo: contextlib.ExitStack) -> Path:
    """Return a directory in memory, as /run is, for what neither side keeps beyond a boot."""
    point = undo.enter_context(short_directory()) / "run"  # unmounted with that
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(point)], check=True)
    return point
