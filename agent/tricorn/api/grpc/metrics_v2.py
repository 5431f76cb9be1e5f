"""The figures of a version 2 control group as io.containerd.cgroups.v2.Metrics.

Sizes in bytes, times in microseconds. A controller that the host hasn't leaves its part out; "max", no
limit, is the greatest number, as containerd has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from tricorn import wire
from tricorn.api.grpc.figures import number, numbers_of, pairs, pids, present, rdma

_MESSAGES: Final = wire.package("io.containerd.cgroups.v2")
_UNLIMITED: Final = (1 << 64) - 1
Files = Mapping[str, str]

# Fields of MemoryStat that are files of their own, not lines of memory.stat.
_MEMORY_FILES: Final = {
    "usage": "memory.current",
    "usage_limit": "memory.max",
    "max_usage": "memory.peak",
    "swap_usage": "memory.swap.current",
    "swap_limit": "memory.swap.max",
    "swap_max_usage": "memory.swap.peak",
}


def metrics_v2(files: Files) -> Any:
    """Build the message; `files` maps kernel file names to their text."""
    return _MESSAGES.Metrics(
        hugetlb=_hugetlb(files),
        pids=pids(_MESSAGES, files, _UNLIMITED),
        cpu=_cpu(files),
        memory=_memory(files),
        memory_events=_lines_of(_MESSAGES.MemoryEvents, files.get("memory.events")),
        io=_io(files),
        rdma=rdma(_MESSAGES, files),
    )


def _cpu(files: Files) -> Any:
    return _with_pressure(_lines_of(_MESSAGES.CPUStat, files.get("cpu.stat")), files.get("cpu.pressure"))


def _memory(files: Files) -> Any:
    stat = _lines_of(_MESSAGES.MemoryStat, files.get("memory.stat"))
    if stat is None:
        return None
    lines = pairs(files["memory.stat"])
    for field in ("workingset_refault", "workingset_activate"):  # kernels since 5.9 tell two kinds apart
        if field not in lines:
            setattr(stat, field, lines.get(f"{field}_anon", 0) + lines.get(f"{field}_file", 0))
    for field, name in _MEMORY_FILES.items():
        if name in files:
            setattr(stat, field, number(files[name], _UNLIMITED))
    return _with_pressure(stat, files.get("memory.pressure"))


def _lines_of(message: Any, text: str | None) -> Any:
    """Return a message with the fields that `name value` lines are named after; None without a text."""
    if text is None:
        return None
    return message(**numbers_of(message, pairs(text)))


def _io(files: Files) -> Any:
    if "io.stat" not in files:
        return None
    return _with_pressure(_MESSAGES.IOStat(usage=_io_entries(files["io.stat"])), files.get("io.pressure"))


def _io_entries(text: str) -> Iterable[Any]:
    """Read lines such as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`."""
    for line in text.splitlines():
        device, _, rest = line.partition(" ")
        major, colon, minor = device.partition(":")
        if not colon or not (major + minor).isdecimal():
            continue
        values = dict(word.split("=", 1) for word in rest.split() if "=" in word)
        known = {name: number(values.get(name, "")) for name in ("rbytes", "wbytes", "rios", "wios")}
        yield _MESSAGES.IOEntry(major=int(major), minor=int(minor), **known)


def _hugetlb(files: Files) -> Iterable[Any]:
    for size in present(files, "hugetlb.", ".current"):
        yield _MESSAGES.HugeTlbStat(
            pagesize=size,
            current=number(files[f"hugetlb.{size}.current"]),
            max=number(files.get(f"hugetlb.{size}.max", ""), _UNLIMITED),
            failcnt=pairs(files.get(f"hugetlb.{size}.events", "")).get("max", 0),
        )


def _with_pressure(stat: Any, text: str | None) -> Any:
    """Add a pressure file: `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, then the same for `full`."""
    if stat is None or text is None:
        return stat
    for line in text.splitlines():
        kind, *words = line.split()
        if kind in {"some", "full"}:
            values = dict(word.split("=", 1) for word in words if "=" in word)
            averages = {name: float(values.get(name, 0)) for name in ("avg10", "avg60", "avg300")}
            data = _MESSAGES.PSIData(**averages, total=number(values.get("total", "")))
            getattr(stat.psi, kind).CopyFrom(data)
    return stat
