"""A node's cgroups on this machine: one in every hierarchy, at LAB/NODE. Only the standard library."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/sys/fs/cgroup")


class Hierarchy(NamedTuple):
    """A mounted hierarchy: how a node mounts its own view of it, and at which place below /sys/fs/cgroup."""

    mount: str
    kind: str
    options: str


def hierarchies(mountinfo: str) -> list[Hierarchy]:
    """Return what is mounted at or below /sys/fs/cgroup, once each, from the text of a mountinfo file."""
    found: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        mount = Path(fields.split()[4])
        if kind not in {"cgroup", "cgroup2"} or ROOT not in (mount, *mount.parents):
            continue
        chosen = [option for option in options.split(",") if option not in {"rw", "ro"}]
        if kind == "cgroup2":
            chosen = []
        elif any(option.startswith("name=") for option in chosen):
            chosen.insert(0, "none")
        found[str(mount)] = Hierarchy(str(mount), kind, ",".join(chosen))
    return list(found.values())


def here() -> list[Hierarchy]:
    return hierarchies(Path("/proc/self/mountinfo").read_text())


def make(group: str, memory: int) -> None:
    """Make the cgroup `group` (LAB/NODE) everywhere, with `memory` MiB at most for all of the node."""
    for hierarchy in here():
        path = Path(hierarchy.mount)
        for part in Path(group).parts:
            if hierarchy.kind == "cgroup2" and path != Path(hierarchy.mount):
                _delegate(path)
            parent, path = path, path / part
            path.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):
                if hierarchy.kind == "cgroup" and (parent / name).exists():
                    (path / name).write_text((parent / name).read_text())
        for name in ("memory.limit_in_bytes", "memory.max"):
            if (path / name).exists():
                (path / name).write_text(str(memory << 20))


def _delegate(path: Path) -> None:
    """Let children of a cgroup v2 use every controller that it has itself."""
    for controller in (path / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):
            (path / "cgroup.subtree_control").write_text(f"+{controller}")


def join(group: str) -> None:
    """Put this process into the cgroup everywhere."""
    for hierarchy in here():
        Path(hierarchy.mount, group, "cgroup.procs").write_text("0")


def memory(group: str) -> int:
    """Return the bytes that the node uses; 0 where no hierarchy tells."""
    for hierarchy in here():
        for name in ("memory.usage_in_bytes", "memory.current"):
            with contextlib.suppress(OSError):
                return int(Path(hierarchy.mount, group, name).read_text())
    return 0


def remove(group: str, timeout: float = 10.0) -> list[str]:
    """End what still runs in the cgroup and remove it with all below; return what is left after `timeout`.

    The kernel may call a cgroup busy for a moment after its last process has ended.
    """
    deadline = time.monotonic() + timeout
    while paths := list(_below(group)):
        for path in paths:
            _kill(path)
            with contextlib.suppress(OSError):
                path.rmdir()
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return [str(path) for path in paths if path.exists()]


def _below(group: str) -> Iterator[Path]:
    """Yield the cgroup's directories in every hierarchy, deepest first."""
    for hierarchy in here():
        for parent, _, _ in os.walk(Path(hierarchy.mount, group), topdown=False):
            yield Path(parent)


def _kill(path: Path) -> None:
    with contextlib.suppress(OSError):
        for pid in (path / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
