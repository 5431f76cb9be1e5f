"""What containers used between two samples: from counters to rates. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import frozen

_IO: Final = {"read": "io_read_bytes", "write": "io_write_bytes"}
_NET: Final = {"received": "receive_bytes", "sent": "transmit_bytes"}
SORTS: Final = ("cpu", "memory", "io", "net", "pids", "name")


@frozen
class Row:
    """One container's line. Rates are per second, None until a second sample is there or where the host
    doesn't count it; `cpu` is in percent of one CPU, `share` the memory in percent of its limit.
    """

    namespace: str
    id: str
    status: str
    cpu: float | None = None
    memory: float | None = None
    limit: float | None = None
    share: float | None = None
    pids: float | None = None
    read: float | None = None
    write: float | None = None
    received: float | None = None
    sent: float | None = None


def rows(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return a row for each container of the later samples."""
    earlier = {_key(sample): sample for sample in before}
    return [_row(earlier.get(_key(sample)), sample) for sample in after]


def _key(sample: Mapping[str, Any]) -> tuple[Any, ...]:
    return sample["namespace"], sample["id"], sample["pid"]  # another process has other counters


def _row(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Row:
    figures = after["figures"]
    memory = figures.get("memory_working_set_bytes", figures.get("memory_bytes"))
    limit = figures.get("memory_limit_bytes")
    rates: dict[str, float | None] = {}
    seconds = _seconds_between(before, after)
    if before is not None and seconds > 0:
        cpu = _rate(before["figures"], figures, "cpu_seconds", seconds)
        rates["cpu"] = None if cpu is None else 100 * cpu
        rates |= {name: _rate(before["figures"], figures, key, seconds) for name, key in _IO.items()}
        old, new = _network(before), _network(after)
        rates |= {name: _rate(old, new, key, seconds) for name, key in _NET.items()}
    return Row(
        after["namespace"], after["id"], after["status"], memory=memory, limit=limit,
        share=100 * memory / limit if memory is not None and limit else None, pids=figures.get("pids"),
        **rates,
    )  # fmt: skip


def _network(sample: Mapping[str, Any]) -> dict[str, float]:
    """Return the sums over all interfaces."""
    total: dict[str, float] = {}
    for counters in (sample.get("network") or {}).values():
        for key, value in counters.items():
            total[key] = total.get(key, 0.0) + value
    return total


def _seconds_between(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> float:
    if before is None:
        return 0.0
    moments = [datetime.fromisoformat(sample["taken_at"]) for sample in (before, after)]
    return (moments[1] - moments[0]).total_seconds()


def _rate(old: Mapping[str, float], new: Mapping[str, float], key: str, seconds: float) -> float | None:
    if key not in old or key not in new:
        return None
    return max(new[key] - old[key], 0.0) / seconds


def in_order(found: Sequence[Row], by: str) -> list[Row]:
    """Return the rows by one of SORTS: names upwards, what is used downwards."""
    named = sorted(found, key=lambda row: (row.namespace, row.id))
    return named if by == "name" else sorted(named, key=lambda row: -_weight(row, by))


def _weight(row: Row, by: str) -> float:
    if by == "io":
        return (row.read or 0.0) + (row.write or 0.0)
    if by == "net":
        return (row.received or 0.0) + (row.sent or 0.0)
    value = {"cpu": row.cpu, "memory": row.memory, "pids": row.pids}[by]
    return value or 0.0
