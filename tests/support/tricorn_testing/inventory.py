"""What one agent has on the machine and in its records: looked at before and after, so that leaks show."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from attrs import Factory, frozen

from tricorn_testing.cgroups import cgroups_naming
from tricorn_testing.daemon import Daemon
from tricorn_testing.processes import command_line, process_ids

# Read connections to the database and pipes between threads come with use, and their number is bounded.
_POOLED = re.compile(r".*/tricorn\.db(-wal|-shm)?$")
# A bounded journal and its numbering; blobs that have been read through since, at most each of them
_UNCOUNTED_TABLES = {"events", "sqlite_sequence", "sqlite_stat1", "blob_checks"}
_UNLISTED = re.compile(r"^root/db/|\.log$|^state/[^/]*\.lock$")


@frozen
class Inventory:
    """Each field counts what goes by a name; `holds` names what a field is about in a summary."""

    descriptors: Counter[str] = Factory(Counter)  # of the agent, by target
    mounts: Counter[str] = Factory(Counter)
    cgroups: Counter[str] = Factory(Counter)  # in all hierarchies
    network_namespaces: Counter[str] = Factory(Counter)
    processes: Counter[str] = Factory(Counter)  # monitors, containers, zombies; not the agent itself
    files: Counter[str] = Factory(Counter)  # below root and state
    records: Counter[str] = Factory(Counter)  # rows by table

    def since(self, before: Inventory) -> dict[str, list[str]]:
        """Return, for each field, what there is more of than there was `before`."""
        return {name: sorted((getattr(self, name) - getattr(before, name)).elements()) for name in FIELDS}

    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name).total() for name in FIELDS}


FIELDS: Mapping[str, str] = {
    "descriptors": "open descriptors of the agent",
    "mounts": "mounts",
    "cgroups": "cgroups of all hierarchies",
    "network_namespaces": "network namespaces",
    "processes": "processes",
    "files": "files and directories in root and state",
    "records": "records in the database",
}


def look(daemon: Daemon, namespace: str) -> Inventory:
    """Take stock of a running agent whose containers are in `namespace`, which nobody else uses."""
    mine = list(_processes(daemon, namespace))
    return Inventory(
        descriptors=Counter(_descriptors(daemon.pid)),
        mounts=Counter(_mounts(daemon.directory)),
        cgroups=Counter(str(path) for path in cgroups_naming(f"{daemon.cgroup}/{namespace}")),
        network_namespaces=Counter(_network_namespaces(daemon, mine)),
        processes=Counter(f"{_title(pid)}" for pid in mine),
        files=Counter(_files(daemon.directory)),
        records=Counter(dict(_records(daemon.root / "db/tricorn.db"))),
    )


def _descriptors(pid: int) -> Iterator[str]:
    pooled = set()
    for link in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{link}")
            if _POOLED.match(target):
                pooled.add(target)
            else:
                yield re.sub(r":\[\d+\]$", "", target)  # sockets and pipes differ by number only
    yield from pooled


def _mounts(directory: Path) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4]
        if point.startswith(f"{directory}/"):
            yield point


def _processes(daemon: Daemon, namespace: str) -> Iterator[int]:
    """Yield what names the agent's directory or is in the namespace's cgroups, and the agent's children."""
    children = set(_children(daemon.pid))
    for pid in process_ids():
        if pid == daemon.pid:
            continue
        if (
            pid in children
            or f"{daemon.cgroup}/{namespace}/" in _text(pid, "cgroup")
            or any(f"{daemon.state}/" in word for word in command_line(pid))
        ):
            yield pid


def _children(pid: int) -> Iterator[int]:
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            yield from map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())


def _title(pid: int) -> str:
    """Return what a process is, not which: the same helper has another number in the next agent."""
    words = command_line(pid)
    return os.path.basename(words[0]) if words else f"[{_text(pid, 'comm').strip() or 'gone'}]"


def _text(pid: int, name: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    return ""


def _network_namespaces(daemon: Daemon, mine: Iterable[int]) -> Iterator[str]:
    """Yield the namespaces of these processes, those that the agent holds open and those mounted."""
    found = set()
    for pid in mine:
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/ns/net"))
    for link in os.listdir(f"/proc/{daemon.pid}/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/{daemon.pid}/fd/{link}"))
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - nsfs " in line and f"{daemon.directory}/" in line:
            found.add(line.split()[3])
    host = os.readlink("/proc/self/ns/net")
    return iter(["net" for name in found if name.startswith("net:[") and name != host])


def _files(directory: Path) -> Iterator[str]:
    """Yield paths below root and state, but not what is inside mounted root file systems."""
    for top in ("root", "state"):
        for parent, names, files in os.walk(directory / top):
            names[:] = [name for name in names if name != "rootfs" or not os.path.ismount(f"{parent}/{name}")]
            for name in [*names, *files]:
                path = os.path.relpath(f"{parent}/{name}", directory)
                if not _UNLISTED.search(path):
                    yield path


def _records(path: Path) -> Iterator[tuple[str, int]]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in sorted(set(tables) - _UNCOUNTED_TABLES):
            yield table, database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
