"""The figures in a control group's files. What a host hasn't is left out, not zero."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatch
from typing import Final

ACCOUNTING_CONTROLLERS: Final = ("cpuacct", "cpu", "memory", "pids", "blkio", "hugetlb", "rdma")
_ACCOUNTING: Final = (
    "cpuacct.usage*", "cpuacct.stat", "cpu.stat", "cpu.pressure",
    "memory.stat", "memory.current", "memory.peak", "memory.events", "memory.max", "memory.swap.*",
    "memory.oom_control", "memory.pressure", "memory.*usage_in_bytes", "memory.*failcnt",
    "memory.*limit_in_bytes", "pids.current", "pids.max", "blkio.*", "io.stat", "io.pressure",
    "hugetlb.*", "rdma.current", "rdma.max",
)  # fmt: skip


def accounting(directories: Iterable[str]) -> dict[str, str]:
    """Return the text of all accounting files in these directories, by their names."""
    found = {}
    for directory in directories:
        with suppress(OSError):
            for name in os.listdir(directory):
                if any(fnmatch(name, pattern) for pattern in _ACCOUNTING):
                    found[name] = text(f"{directory}/{name}")
    return {name: content for name, content in found.items() if content}


def v1(directory: Callable[[str], str]) -> dict[str, float]:
    """Return the figures of cgroup v1; `directory` maps a controller to the container's directory."""
    stat = pairs(f"{directory('memory')}/memory.stat")
    ticks = os.sysconf("SC_CLK_TCK")
    times = pairs(f"{directory('cpuacct')}/cpuacct.stat")
    throttled = pairs(f"{directory('cpu')}/cpu.stat")
    figures = {
        "cpu_seconds": number(f"{directory('cpuacct')}/cpuacct.usage", 1e-9),
        "cpu_user_seconds": _scaled(times.get("user"), 1 / ticks),
        "cpu_system_seconds": _scaled(times.get("system"), 1 / ticks),
        "cpu_throttled_seconds": _scaled(throttled.get("throttled_time"), 1e-9),
        "memory_bytes": number(f"{directory('memory')}/memory.usage_in_bytes"),
        "memory_limit_bytes": _limit(number(f"{directory('memory')}/memory.limit_in_bytes")),
        "memory_peak_bytes": number(f"{directory('memory')}/memory.max_usage_in_bytes"),
        "memory_inactive_file_bytes": stat.get("total_inactive_file", stat.get("inactive_file")),
        "memory_oom_kills": pairs(f"{directory('memory')}/memory.oom_control").get("oom_kill"),
        "pids": number(f"{directory('pids')}/pids.current"),
        "pids_limit": number(f"{directory('pids')}/pids.max"),
    }
    return _known(figures) | _io_v1(directory("blkio"))


def v2(base: str) -> dict[str, float]:
    """Return the figures of cgroup v2 in the directory `base`."""
    cpu, stat = pairs(f"{base}/cpu.stat"), pairs(f"{base}/memory.stat")
    figures = {
        "cpu_seconds": _scaled(cpu.get("usage_usec"), 1e-6),
        "cpu_user_seconds": _scaled(cpu.get("user_usec"), 1e-6),
        "cpu_system_seconds": _scaled(cpu.get("system_usec"), 1e-6),
        "cpu_throttled_seconds": _scaled(cpu.get("throttled_usec"), 1e-6),
        "memory_bytes": number(f"{base}/memory.current"),
        "memory_limit_bytes": number(f"{base}/memory.max"),
        "memory_peak_bytes": number(f"{base}/memory.peak"),
        "memory_inactive_file_bytes": stat.get("inactive_file"),
        "memory_oom_kills": pairs(f"{base}/memory.events").get("oom_kill"),
        "pids": number(f"{base}/pids.current"),
        "pids_limit": number(f"{base}/pids.max"),
    }
    return _known(figures) | _io_v2(base)


def _io_v1(directory: str) -> dict[str, float]:
    totals = {"read": 0.0, "write": 0.0}
    found = list(lines(f"{directory}/blkio.throttle.io_service_bytes"))
    for line in found:
        parts = line.split()
        if len(parts) == 3 and parts[1].lower() in totals:
            totals[parts[1].lower()] += float(parts[2])
    return {f"io_{key}_bytes": value for key, value in totals.items()} if found else {}


def _io_v2(base: str) -> dict[str, float]:
    totals: dict[str, float] = {}
    for line in lines(f"{base}/io.stat"):
        for key, name in (("rbytes", "io_read_bytes"), ("wbytes", "io_write_bytes")):
            for word in line.split()[1:]:
                if word.startswith(f"{key}="):
                    totals[name] = totals.get(name, 0.0) + float(word.partition("=")[2])
    return totals


def _known(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {key: float(value) for key, value in figures.items() if value is not None}


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _limit(value: float | None) -> float | None:
    """Drop v1's "no limit", a page-rounded 2^63."""
    return None if value is None or value >= 2**60 else value


def number(path: str, factor: float = 1) -> float | None:
    try:
        return float(text(path)) * factor
    except ValueError:  # "max", or no such file
        return None


def pairs(path: str) -> dict[str, float]:
    pairs = {}
    for line in lines(path):
        key, _, value = line.partition(" ")
        with suppress(ValueError):
            pairs[key] = float(value)
    return pairs


def lines(path: str) -> Iterator[str]:
    yield from text(path).splitlines()


def text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
