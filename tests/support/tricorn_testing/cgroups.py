"""Removes the cgroups that agents leave: the kernel keeps a directory until somebody removes it."""

from __future__ import annotations

import os
import time
from pathlib import Path

ROOT = "/sys/fs/cgroup"
AGENT = "tricorn"  # the cgroup below which an agent puts its containers


def cgroups_naming(text: str) -> list[Path]:
    """Return the cgroups (in every hierarchy) with `text` in their path, deepest first."""
    found = []
    for parent, names, _ in os.walk(ROOT):
        found += [Path(parent, name) for name in names if text in f"{parent}/{name}"]
    return sorted(found, key=lambda path: -len(path.parts))


def agent_cgroups() -> list[Path]:
    """Return every agent cgroup and what is below it, deepest first."""
    return [path for path in cgroups_naming(f"/{AGENT}") if AGENT in path.parts]


def remove_cgroups(text: str) -> None:
    """Remove the cgroups with `text` in their path; those with processes in them stay."""
    remove(cgroups_naming(text))


def remove(paths: list[Path], timeout: float = 1.0) -> None:
    """Remove empty cgroups; the kernel may call one busy for a moment after its last process ended."""
    deadline = time.monotonic() + timeout
    while paths:
        paths = [path for path in paths if not _removed(path)]
        if time.monotonic() > deadline:
            return
        time.sleep(0.02 if paths else 0)


def _removed(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
