from __future__ import annotations

from typing import Any

import pytest

from tricorn.cli.rates import SORTS, Row, in_order, rows


def sample(name: str, second: int, pid: int = 7, **figures: float) -> dict[str, Any]:
    return {
        "namespace": "n", "id": name, "pid": pid, "status": "running", "network": {"eth0": {"receive_bytes": 10.0 * second}},
        "taken_at": f"2026-01-01T00:00:{second:02}+00:00", "figures": figures,
    }  # fmt: skip


def test_counters_become_rates() -> None:
    before = [sample("a", 0, cpu_seconds=1.0, io_read_bytes=0.0)]
    after = [
        sample(
            "a",
            2,
            cpu_seconds=2.0,
            io_read_bytes=4096.0,
            memory_working_set_bytes=25.0,
            memory_limit_bytes=100.0,
            pids=3.0,
        )
    ]
    (row,) = rows(before, after)
    assert (row.cpu, row.read, row.write, row.received) == (50.0, 2048.0, None, 10.0)
    assert (row.memory, row.share, row.pids) == (25.0, 25.0, 3.0)


@pytest.mark.parametrize(
    "before", [[], [sample("a", 0, pid=6, cpu_seconds=9.0)], [sample("a", 2, cpu_seconds=0.0)]]
)
def test_without_an_earlier_sample_of_the_same_process_there_is_no_rate(before: list[dict[str, Any]]) -> None:
    (row,) = rows(before, [sample("a", 2, cpu_seconds=1.0, memory_bytes=5.0)])
    assert (row.cpu, row.memory) == (None, 5.0)


@pytest.mark.parametrize("by", SORTS)
def test_orders(by: str) -> None:
    low, high = (
        Row("n", "b", "running"),
        Row("n", "a", "running", 1.0, 1.0, None, None, 1.0, 1.0, 1.0, 1.0, 1.0),
    )
    assert in_order([low, high], by) == [high, low]
