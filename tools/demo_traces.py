"""Looks for anything that the agent or its demo left on this machine."""

from __future__ import annotations

import grp
import os
from collections.abc import Iterator
from pathlib import Path

from tricorn_testing.processes import command_line, process_ids

DIRECTORIES = ("/opt/tricorn", "/etc/tricorn", "/var/lib/tricorn", "/run/tricorn", "/var/log/tricorn")
PROGRAMS = ("tricorn", "tricornd")
PROGRAM_DIRECTORIES = ("/usr/local/bin", "/usr/local/sbin", "/usr/bin")
UNITS = ("tricornd.service", "tricornd.socket", "tricornd-shutdown.service")
UNIT_DIRECTORIES = ("/etc/systemd/system", "/usr/lib/systemd/system", "/usr/local/lib/systemd/system")


def traces(demo: Path) -> Iterator[str]:
    """Yield a line for everything found: files, mounts, cgroups, processes, namespaces, the group."""
    yield from _files(demo)
    yield from _mounts(demo)
    yield from _cgroups()
    yield from _processes(demo)
    yield from _network_namespaces()
    yield from _group()


def _files(demo: Path) -> Iterator[str]:
    candidates = [str(demo), *DIRECTORIES]
    candidates += [f"{place}/{name}" for place in PROGRAM_DIRECTORIES for name in PROGRAMS]
    candidates += [f"{place}/{name}" for place in UNIT_DIRECTORIES for name in UNITS]
    yield from (f"file {path}" for path in candidates if os.path.lexists(path))


def _below(path: str, demo: Path) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in (str(demo), *DIRECTORIES))


def _mounts(demo: Path) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4]
        if _below(point, demo):
            yield f"mount {point}"


def _cgroups() -> Iterator[str]:
    for parent, names, _ in os.walk("/sys/fs/cgroup"):
        yield from (f"cgroup {parent}/{name}" for name in names if name.startswith("tricorn"))


def _processes(demo: Path) -> Iterator[str]:
    for pid in process_ids():
        arguments = command_line(pid)
        if pid != os.getpid() and any(_below(text, demo) for text in arguments):
            yield f"process {pid}: {' '.join(arguments)[:120]}"


def _network_namespaces() -> Iterator[str]:
    try:
        names = os.listdir("/run/netns")
    except FileNotFoundError:
        return
    yield from (f"network namespace {name}" for name in names if name.startswith("tricorn"))


def _group() -> Iterator[str]:
    try:
        grp.getgrnam("tricorn")
    except KeyError:
        return
    yield "group tricorn"
