"""The figures in a control group's files. What a host hasn't is left out, not zero."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from fnmatch import fnmatch
from typing import Final

ACCOUNTING_CONTROLLERS: Final = ("cpuacct", "cpu", "memory", "pids", "blkio", "hugetlb", "rdma")
_CPUS: Final = 8192  # of the largest machine there is for the kernel
_PRESSURE: Final = {"some": "waiting", "full": "stalled"}
_IO_V2: Final = {
    "rbytes": "io_read_bytes", "wbytes": "io_write_bytes", "rios": "io_read_ops", "wios": "io_write_ops",
}  # fmt: skip
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
    figures = _cpu_v1(directory("cpuacct"), directory("cpu")) | _memory_v1(directory("memory"))
    figures |= {
        "pids": number(f"{directory('pids')}/pids.current"),
        "pids_limit": _pids_limit(f"{directory('pids')}/pids.max"),
    }
    return _known(figures) | _io_v1(directory("blkio"))


def _cpu_v1(accounting: str, scheduler: str) -> dict[str, float | None]:
    ticks = os.sysconf("SC_CLK_TCK")
    times, throttled = pairs(f"{accounting}/cpuacct.stat"), pairs(f"{scheduler}/cpu.stat")
    quota, period = number(f"{scheduler}/cpu.cfs_quota_us"), number(f"{scheduler}/cpu.cfs_period_us")
    return {
        "cpu_seconds": number(f"{accounting}/cpuacct.usage", 1e-9),
        "cpu_user_seconds": _scaled(times.get("user"), 1 / ticks),
        "cpu_system_seconds": _scaled(times.get("system"), 1 / ticks),
        "cpu_periods": throttled.get("nr_periods"),
        "cpu_throttled_periods": throttled.get("nr_throttled"),
        "cpu_throttled_seconds": _scaled(throttled.get("throttled_time"), 1e-9),
        "cpu_quota_us": _quota(quota, period),
        "cpu_period_us": period,
        "cpu_shares": number(f"{scheduler}/cpu.shares"),
    }


def _memory_v1(directory: str) -> dict[str, float | None]:
    stat = pairs(f"{directory}/memory.stat")

    def total(name: str) -> float | None:  # with what is in cgroups below
        return stat.get(f"total_{name}", stat.get(name))

    usage, inactive = number(f"{directory}/memory.usage_in_bytes"), total("inactive_file")
    return {
        "memory_bytes": usage,
        "memory_working_set_bytes": _working_set(usage, inactive),
        "memory_rss_bytes": total("rss"),
        "memory_cache_bytes": total("cache"),
        "memory_mapped_file_bytes": total("mapped_file"),
        "memory_swap_bytes": total("swap"),
        "memory_inactive_file_bytes": inactive,
        "memory_limit_bytes": _limit(number(f"{directory}/memory.limit_in_bytes")),
        "memory_swap_limit_bytes": _limit(number(f"{directory}/memory.memsw.limit_in_bytes")),
        "memory_reservation_bytes": _limit(number(f"{directory}/memory.soft_limit_in_bytes")),
        "memory_peak_bytes": number(f"{directory}/memory.max_usage_in_bytes"),
        "memory_limit_hits": number(f"{directory}/memory.failcnt"),
        "memory_page_faults": total("pgfault"),
        "memory_major_page_faults": total("pgmajfault"),
        "memory_oom_kills": pairs(f"{directory}/memory.oom_control").get("oom_kill"),
    }


def v2(base: str) -> dict[str, float]:
    """Return the figures of cgroup v2 in the directory `base`."""
    figures = _cpu_v2(base) | _memory_v2(base)
    figures |= {"pids": number(f"{base}/pids.current"), "pids_limit": _pids_limit(f"{base}/pids.max")}
    return _known(figures) | _io_v2(base) | pressure(base)


def _cpu_v2(base: str) -> dict[str, float | None]:
    cpu = pairs(f"{base}/cpu.stat")
    quota, period = (float(word) if word.isdecimal() else None for word in _two_words(f"{base}/cpu.max"))
    return {
        "cpu_seconds": _scaled(cpu.get("usage_usec"), 1e-6),
        "cpu_user_seconds": _scaled(cpu.get("user_usec"), 1e-6),
        "cpu_system_seconds": _scaled(cpu.get("system_usec"), 1e-6),
        "cpu_periods": cpu.get("nr_periods"),
        "cpu_throttled_periods": cpu.get("nr_throttled"),
        "cpu_throttled_seconds": _scaled(cpu.get("throttled_usec"), 1e-6),
        "cpu_quota_us": _quota(quota, period),
        "cpu_period_us": period,
        "cpu_weight": number(f"{base}/cpu.weight"),
    }


def _memory_v2(base: str) -> dict[str, float | None]:
    stat, events = pairs(f"{base}/memory.stat"), pairs(f"{base}/memory.events")
    usage, inactive = number(f"{base}/memory.current"), stat.get("inactive_file")
    return {
        "memory_bytes": usage,
        "memory_working_set_bytes": _working_set(usage, inactive),
        "memory_rss_bytes": stat.get("anon"),
        "memory_cache_bytes": stat.get("file"),
        "memory_mapped_file_bytes": stat.get("file_mapped"),
        "memory_swap_bytes": number(f"{base}/memory.swap.current"),
        "memory_inactive_file_bytes": inactive,
        "memory_limit_bytes": number(f"{base}/memory.max"),
        "memory_swap_limit_bytes": number(f"{base}/memory.swap.max"),
        "memory_reservation_bytes": number(f"{base}/memory.low"),
        "memory_peak_bytes": number(f"{base}/memory.peak"),
        "memory_limit_hits": events.get("max"),
        "memory_page_faults": stat.get("pgfault"),
        "memory_major_page_faults": stat.get("pgmajfault"),
        "memory_oom_kills": events.get("oom_kill"),
    }


def pressure(base: str) -> dict[str, float]:
    """Return for how many seconds some (waiting), or all (stalled), waited for each resource."""
    found = {}
    for resource in ("cpu", "memory", "io"):
        for line in lines(f"{base}/{resource}.pressure"):
            kind, _, rest = line.partition(" ")
            total = rest.rpartition("total=")[2]
            if kind in _PRESSURE and total.isdecimal():
                found[f"{resource}_{_PRESSURE[kind]}_seconds"] = float(total) * 1e-6
    return found


def _io_v1(directory: str) -> dict[str, float]:
    """Those of a cgroup and what is below it, where the kernel adds that up."""
    found: dict[str, float] = {}
    for file, unit in (("io_service_bytes", "bytes"), ("io_serviced", "ops")):
        name = f"{directory}/blkio.throttle.{file}"
        for line in lines(f"{name}_recursive") or lines(name):
            parts = line.split()
            if len(parts) == 3 and parts[1] in {"Read", "Write"}:
                key = f"io_{parts[1].lower()}_{unit}"
                found[key] = found.get(key, 0.0) + float(parts[2])
    return found


def _io_v2(base: str) -> dict[str, float]:
    totals: dict[str, float] = {}
    for line in lines(f"{base}/io.stat"):
        for word in line.split()[1:]:
            key, _, value = word.partition("=")
            if key in _IO_V2:
                totals[_IO_V2[key]] = totals.get(_IO_V2[key], 0.0) + float(value)
    return totals


def _known(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {key: float(value) for key, value in figures.items() if value is not None}


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _working_set(usage: float | None, inactive: float | None) -> float | None:
    """Return what can't be taken back without harm: all but pages of files that nobody used lately."""
    return None if usage is None or inactive is None else max(usage - inactive, 0.0)


def _two_words(path: str) -> tuple[str, str]:
    first, _, second = text(path).strip().partition(" ")
    return first, second


def _quota(quota: float | None, period: float | None) -> float | None:
    """Drop "no limit": -1, or more than any machine has."""
    if quota is None or quota <= 0 or quota >= _CPUS * (period or 1):
        return None
    return quota


def _pids_limit(path: str) -> float | None:
    """Drop a bound that is no smaller than the kernel's own."""
    value = number(path)
    return None if value is None or value >= 2**22 else value


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


def lines(path: str) -> list[str]:
    return text(path).splitlines()


def text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
