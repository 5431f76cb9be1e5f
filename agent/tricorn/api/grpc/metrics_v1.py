"""The figures of version 1 control groups as io.containerd.cgroups.v1.Metrics.

Sizes in bytes, times in nanoseconds. A controller that the host hasn't leaves its part out. Network figures
are no part of it: containerd's runtime doesn't fill them in either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from tricorn import wire
from tricorn.api.grpc.figures import number, numbers_of, pairs, pids, present, rdma

_MESSAGES: Final = wire.package("io.containerd.cgroups.v1")
_TICK: Final = 1_000_000_000 // 100  # USER_HZ is 100 on every Linux that runs containers
Files = Mapping[str, str]

# Lines of memory.stat whose names differ from the fields'.
_MEMORY_NAMES: Final = {
    "pgpgin": "pg_pg_in",
    "pgpgout": "pg_pg_out",
    "pgfault": "pg_fault",
    "pgmajfault": "pg_maj_fault",
    "total_pgpgin": "total_pg_pg_in",
    "total_pgpgout": "total_pg_pg_out",
    "total_pgfault": "total_pg_fault",
    "total_pgmajfault": "total_pg_maj_fault",
    "hierarchical_memsw_limit": "hierarchical_swap_limit",
}
_MEMORY_ENTRIES: Final = {
    "usage": "memory",
    "swap": "memory.memsw",
    "kernel": "memory.kmem",
    "kernel_tcp": "memory.kmem.tcp",
}
# By the names that hosts with the CFQ scheduler have, and by those that every host has.
_BLKIO_CFQ: Final = {
    "io_service_bytes_recursive": "blkio.io_service_bytes_recursive",
    "io_serviced_recursive": "blkio.io_serviced_recursive",
    "io_queued_recursive": "blkio.io_queued_recursive",
    "io_service_time_recursive": "blkio.io_service_time_recursive",
    "io_wait_time_recursive": "blkio.io_wait_time_recursive",
    "io_merged_recursive": "blkio.io_merged_recursive",
    "io_time_recursive": "blkio.time_recursive",
    "sectors_recursive": "blkio.sectors_recursive",
}
_BLKIO_THROTTLE: Final = {
    "io_service_bytes_recursive": "blkio.throttle.io_service_bytes",
    "io_serviced_recursive": "blkio.throttle.io_serviced",
}


def metrics_v1(files: Files) -> Any:
    """Build the message; `files` maps kernel file names of all controllers to their text."""
    return _MESSAGES.Metrics(
        hugetlb=_hugetlb(files),
        pids=pids(_MESSAGES, files),
        cpu=_cpu(files),
        memory=_memory(files),
        memory_oom_control=_oom_control(files),
        blkio=_blkio(files),
        rdma=rdma(_MESSAGES, files),
    )


def _cpu(files: Files) -> Any:
    usage, throttling = _cpu_usage(files), _throttling(files)
    return _MESSAGES.CPUStat(usage=usage, throttling=throttling) if usage or throttling else None


def _cpu_usage(files: Files) -> Any:
    if "cpuacct.usage" not in files:
        return None
    ticks = pairs(files.get("cpuacct.stat", ""))
    return _MESSAGES.CPUUsage(
        total=number(files["cpuacct.usage"]),
        kernel=ticks.get("system", 0) * _TICK,
        user=ticks.get("user", 0) * _TICK,
        per_cpu=[int(word) for word in files.get("cpuacct.usage_percpu", "").split() if word.isdecimal()],
    )


def _throttling(files: Files) -> Any:
    if "cpu.stat" not in files:
        return None
    lines = pairs(files["cpu.stat"])
    return _MESSAGES.Throttle(
        periods=lines.get("nr_periods", 0),
        throttled_periods=lines.get("nr_throttled", 0),
        throttled_time=lines.get("throttled_time", 0),
    )


def _memory(files: Files) -> Any:
    if "memory.stat" not in files:
        return None
    lines = {_MEMORY_NAMES.get(name, name): value for name, value in pairs(files["memory.stat"]).items()}
    stat = _MESSAGES.MemoryStat(**numbers_of(_MESSAGES.MemoryStat, lines))
    for field, prefix in _MEMORY_ENTRIES.items():
        if f"{prefix}.usage_in_bytes" in files:
            getattr(stat, field).CopyFrom(_memory_entry(files, prefix))
    return stat


def _memory_entry(files: Files, prefix: str) -> Any:
    return _MESSAGES.MemoryEntry(
        limit=number(files.get(f"{prefix}.limit_in_bytes", "")),
        usage=number(files[f"{prefix}.usage_in_bytes"]),
        max=number(files.get(f"{prefix}.max_usage_in_bytes", "")),
        failcnt=number(files.get(f"{prefix}.failcnt", "")),
    )


def _oom_control(files: Files) -> Any:
    if "memory.oom_control" not in files:
        return None
    lines = pairs(files["memory.oom_control"])
    known = ("oom_kill_disable", "under_oom", "oom_kill")
    return _MESSAGES.MemoryOomControl(**{name: lines.get(name, 0) for name in known})


def _blkio(files: Files) -> Any:
    table = _BLKIO_CFQ if "blkio.io_serviced_recursive" in files else _BLKIO_THROTTLE
    found = {field: list(_blkio_entries(files[name])) for field, name in table.items() if name in files}
    return _MESSAGES.BlkIOStat(**found) if found else None


def _blkio_entries(text: str) -> Iterable[Any]:
    """Read lines such as `8:0 Read 4096` and `8:0 4096`; the sum at the end names no device."""
    for line in text.splitlines():
        device, *words = line.split()
        major, colon, minor = device.partition(":")
        if colon and words and (major + minor + words[-1]).isdecimal():
            yield _MESSAGES.BlkIOEntry(
                op=words[0] if len(words) > 1 else "",
                major=int(major),
                minor=int(minor),
                value=int(words[-1]),
            )


def _hugetlb(files: Files) -> Iterable[Any]:
    for size in present(files, "hugetlb.", ".usage_in_bytes"):
        prefix = f"hugetlb.{size}"
        yield _MESSAGES.HugetlbStat(
            pagesize=size,
            usage=number(files[f"{prefix}.usage_in_bytes"]),
            max=number(files.get(f"{prefix}.max_usage_in_bytes", "")),
            failcnt=number(files.get(f"{prefix}.failcnt", "")),
        )
