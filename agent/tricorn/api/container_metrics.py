"""Containers' figures in Prometheus' text format, under the names that dashboards know: cAdvisor's, and
containerd's own where they don't collide with those.

The text is made here, not by the client library: 500 containers are 20,000 samples a scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

from attrs import Factory, frozen

from tricorn.model.samples import ContainerSample

Kind = Literal["counter", "gauge"]


@frozen
class Family:
    """One metric; `figure` is what a sample calls it, times `scale`."""

    name: str
    kind: Kind
    text: str
    figure: str
    labels: str = ""  # further ones, ready to be printed
    scale: float = 1.0


@frozen
class _Lines:
    family: Family
    lines: list[str] = Factory(list)


def _counter(name: str, text: str, figure: str, labels: str = "", scale: float = 1.0) -> Family:
    return Family(f"container_{name}", "counter", text, figure, labels, scale)


def _gauge(name: str, text: str, figure: str, scale: float = 1.0) -> Family:
    return Family(f"container_{name}", "gauge", text, figure, "", scale)


def _fault(kind: str, figure: str) -> Family:
    labels = f',failure_type="{kind}",scope="hierarchy"'
    return _counter("memory_failures_total", "Page faults", figure, labels)


CADVISOR: Final = (
    _counter("cpu_usage_seconds_total", "CPU time", "cpu_seconds", ',cpu="total"'),
    _counter("cpu_user_seconds_total", "CPU time of programs", "cpu_user_seconds"),
    _counter("cpu_system_seconds_total", "CPU time of the kernel", "cpu_system_seconds"),
    _counter("cpu_cfs_periods_total", "Enforcement periods", "cpu_periods"),
    _counter("cpu_cfs_throttled_periods_total", "Periods in which it was throttled", "cpu_throttled_periods"),
    _counter("cpu_cfs_throttled_seconds_total", "Time for which it was throttled", "cpu_throttled_seconds"),
    _gauge("memory_usage_bytes", "Memory, with all caches", "memory_bytes"),
    _gauge("memory_working_set_bytes", "Memory without inactive pages of files", "memory_working_set_bytes"),
    _gauge("memory_rss", "Anonymous memory in bytes", "memory_rss_bytes"),
    _gauge("memory_cache", "Pages of files in bytes", "memory_cache_bytes"),
    _gauge("memory_mapped_file", "Mapped files in bytes", "memory_mapped_file_bytes"),
    _gauge("memory_swap", "Swap in bytes", "memory_swap_bytes"),
    _gauge("memory_max_usage_bytes", "The most memory it had", "memory_peak_bytes"),
    _counter("memory_failcnt", "How often it met its limit", "memory_limit_hits"),
    _fault("pgfault", "memory_page_faults"),
    _fault("pgmajfault", "memory_major_page_faults"),
    _counter("oom_events_total", "Processes killed for want of memory", "memory_oom_kills"),
    _counter("fs_reads_bytes_total", "Bytes read from devices", "io_read_bytes"),
    _counter("fs_writes_bytes_total", "Bytes written to devices", "io_write_bytes"),
    _counter("fs_reads_total", "Reads from devices", "io_read_ops"),
    _counter("fs_writes_total", "Writes to devices", "io_write_ops"),
    _gauge("processes", "Processes", "processes"),
    _gauge("threads", "Threads", "pids"),
    _gauge("threads_max", "Bound of threads", "pids_limit"),
    _gauge("spec_memory_limit_bytes", "Limit of memory", "memory_limit_bytes"),
    _gauge("spec_memory_swap_limit_bytes", "Limit of swap", "memory_swap_limit_bytes"),
    _gauge("spec_memory_reservation_limit_bytes", "Reserved memory", "memory_reservation_bytes"),
    _gauge("spec_cpu_quota", "Microseconds of CPU a period", "cpu_quota_us"),
    _gauge("spec_cpu_period", "Microseconds of a period", "cpu_period_us"),
    _gauge("spec_cpu_shares", "Weight of its CPU time", "cpu_shares"),
    _counter("pressure_cpu_waiting_seconds_total", "Time in which some waited", "cpu_waiting_seconds"),
    _counter("pressure_cpu_stalled_seconds_total", "Time in which all waited", "cpu_stalled_seconds"),
    _counter("pressure_memory_waiting_seconds_total", "Time in which some waited", "memory_waiting_seconds"),
    _counter("pressure_memory_stalled_seconds_total", "Time in which all waited", "memory_stalled_seconds"),
    _counter("pressure_io_waiting_seconds_total", "Time in which some waited", "io_waiting_seconds"),
    _counter("pressure_io_stalled_seconds_total", "Time in which all waited", "io_stalled_seconds"),
)
CONTAINERD: Final = (
    _gauge("cpu_usage_usec_microseconds", "CPU time", "cpu_seconds", 1e6),
    _gauge("memory_usage_limit_bytes", "Limit of memory", "memory_limit_bytes"),
    _gauge("memory_oom_total", "Processes killed for want of memory", "memory_oom_kills"),
    _gauge("pids_current", "Threads", "pids"),
    _gauge("pids_limit", "Bound of threads", "pids_limit"),
)
NETWORK: Final = {
    "bytes": "Bytes",
    "packets": "Packets",
    "errors": "Errors",
    "dropped": "Packets that were dropped",
}
_NAMES: Final = {"dropped": "packets_dropped"}


def render(samples: Sequence[ContainerSample]) -> str:
    """Return all families that anything is known of."""
    cadvisor = [(sample, _cadvisor_labels(sample)) for sample in samples]
    containerd = [(sample, _containerd_labels(sample)) for sample in samples]
    parts = [*_figures(CADVISOR, cadvisor), *_figures(CONTAINERD, containerd)]
    parts += [_times("start_time_seconds", cadvisor, _started), _times("last_seen", cadvisor, _taken)]
    parts += _interfaces(cadvisor)
    return "".join(part for part in parts if part)


Labelled = Sequence[tuple[ContainerSample, str]]


def _cadvisor_labels(sample: ContainerSample) -> str:
    return _labels({"id": sample.cgroup, "image": sample.image, "name": sample.id}, sample.namespace)


def _containerd_labels(sample: ContainerSample) -> str:
    return _labels({"container_id": sample.id, "runtime": sample.runtime}, sample.namespace)


def _labels(values: Mapping[str, str], namespace: str) -> str:
    return ",".join(f'{key}="{_escape(value)}"' for key, value in {**values, "namespace": namespace}.items())


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _figures(families: Iterable[Family], samples: Labelled) -> Iterator[str]:
    """Yield families whole: what has one name has to stand together."""
    by_name: dict[str, _Lines] = {}
    for family in families:
        lines = by_name.setdefault(family.name, _Lines(family)).lines
        for sample, labels in samples:
            value = sample.figures.get(family.figure)
            if value is not None:
                lines.append(f"{family.name}{{{labels}{family.labels}}} {_number(value * family.scale)}\n")
    for found in by_name.values():
        yield _family(found.family.name, found.family.kind, found.family.text, found.lines)


def _family(name: str, kind: Kind, text: str, lines: Sequence[str]) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n{''.join(lines)}" if lines else ""


def _times(name: str, samples: Labelled, of: Callable[[ContainerSample], float | None]) -> str:
    full, texts = f"container_{name}", {"start_time_seconds": "When it was started", "last_seen": "Now"}
    known = [(of(sample), labels) for sample, labels in samples]
    lines = [f"{full}{{{labels}}} {_number(value)}\n" for value, labels in known if value is not None]
    return _family(full, "gauge", texts[name], lines)


def _started(sample: ContainerSample) -> float | None:
    return sample.started_at.timestamp() if sample.started_at else None


def _taken(sample: ContainerSample) -> float:
    return sample.taken_at.timestamp()


def _interfaces(samples: Labelled) -> Iterator[str]:
    for direction in ("receive", "transmit"):
        for unit, text in NETWORK.items():
            name = f"container_network_{direction}_{_NAMES.get(unit, unit)}_total"
            lines = [
                f'{name}{{{labels},interface="{_escape(interface)}"}} {_number(counters[key])}\n'
                for sample, labels in samples
                for interface, counters in sample.network.items()
                if (key := f"{direction}_{unit}") in counters
            ]
            yield _family(name, "counter", f"{text} of an interface", lines)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
