"""What a test session could leave behind on the machine: looked at before and after."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from attrs import evolve, frozen

from tricorn_testing.processes import command_line, process_ids

PROGRAMS = frozenset(
    {"conmon", "crun", "runc", "tricornd", "docker-registry", "containerd", "fuse-overlayfs"}
)
# Descriptors that Python and its libraries open once and keep.
_KEPT_DESCRIPTORS = re.compile(r"/dev/|/proc/|.*\.(py|pyc|so|db|log|zip)$")


@frozen
class Traces:
    mounts: frozenset[str]
    processes: frozenset[str]
    cgroups: frozenset[str]
    network_namespaces: frozenset[str]
    loops: frozenset[str]
    descriptors: frozenset[str]

    def since(self, before: Traces, prefixes: Iterable[str] | None) -> list[str]:
        """Describe what is here and wasn't `before`. With `prefixes`, only what names one of them:
        other programs on this machine may have come in the meantime.
        """
        found = []
        for field, kind in (
            ("mounts", "mount"),
            ("processes", "process"),
            ("cgroups", "cgroup"),
            ("network_namespaces", "network namespace"),
            ("loops", "loop device"),
        ):
            fresh = sorted(getattr(self, field) - getattr(before, field))
            found += [f"{kind} {text}" for text in fresh if _concerns(text, prefixes)]
        return found + [f"open descriptor {text}" for text in sorted(self.descriptors - before.descriptors)]

    def of_machine(self) -> Traces:
        """Return what isn't of this process alone."""
        return evolve(self, descriptors=frozenset())


def _concerns(text: str, prefixes: Iterable[str] | None) -> bool:
    return prefixes is None or any(prefix in text for prefix in prefixes)


def look() -> Traces:
    return Traces(
        mounts=frozenset(_mounts()),
        processes=frozenset(_processes()),
        cgroups=frozenset(_cgroups()),
        network_namespaces=frozenset(_names("/run/netns")),
        loops=frozenset(_loops()),
        descriptors=frozenset(_descriptors()),
    )


def _mounts() -> Iterable[str]:
    """Mount points; `ip netns` makes its directory one the first time, for ever, and that is no leak."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return (point for point in points if point != "/run/netns")


def _processes() -> Iterable[str]:
    for pid in process_ids():
        arguments = command_line(pid)
        if arguments and os.path.basename(arguments[0]) in PROGRAMS:
            yield f"{pid}: {' '.join(arguments)[:300]}"


def _cgroups() -> Iterable[str]:
    for parent, names, _ in os.walk("/sys/fs/cgroup"):
        yield from (f"{parent}/{name}" for name in names)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _loops() -> Iterable[str]:
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            yield f"{path.parts[3]}: {path.read_text().strip()}"
        except OSError:
            continue


def _descriptors() -> Iterable[str]:
    """Files and kinds of descriptors of this process; sockets and pipes are counted, not named."""
    kinds: dict[str, int] = {}
    for name in _names("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        kind = target.partition(":[")[0]
        if not _KEPT_DESCRIPTORS.match(kind):
            kinds[kind] = kinds.get(kind, 0) + 1
            yield f"{kind} #{kinds[kind]}"
