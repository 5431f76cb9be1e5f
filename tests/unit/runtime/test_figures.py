"""Figures from the files of control groups as kernels write them, v1 and v2."""

from __future__ import annotations

from pathlib import Path

import pytest

from tricorn.runtime import figures
from tricorn.runtime.cgroup import Cgroup, Hierarchies
from tricorn.runtime.sampling import interfaces, look_at, take_all

HERE = Path(__file__).parent
COMMON = {
    "cpu_quota_us": 50000, "cpu_period_us": 100000, "memory_bytes": 7053312, "memory_working_set_bytes": 499712,
    "memory_rss_bytes": 49152, "memory_cache_bytes": 6553600, "memory_inactive_file_bytes": 6553600,
    "memory_limit_bytes": 67108864, "memory_reservation_bytes": 33554432, "memory_peak_bytes": 7757824,
    "memory_limit_hits": 5, "memory_page_faults": 1264, "memory_oom_kills": 2, "pids_limit": 100,
    "io_read_bytes": 12288, "io_write_bytes": 8192, "io_read_ops": 3, "io_write_ops": 2,
}  # fmt: skip
V1 = COMMON | {
    "cpu_seconds": 0.23496683, "cpu_user_seconds": 0.23, "cpu_system_seconds": 0, "cpu_shares": 1024,
    "cpu_periods": 7, "cpu_throttled_periods": 3, "cpu_throttled_seconds": 0.15, "pids": 1,
    "memory_mapped_file_bytes": 0, "memory_swap_bytes": 0, "memory_major_page_faults": 0,
}  # fmt: skip
V2 = COMMON | {
    "cpu_seconds": 2.5, "cpu_user_seconds": 2, "cpu_system_seconds": 0.5, "cpu_weight": 100,
    "cpu_periods": 40, "cpu_throttled_periods": 4, "cpu_throttled_seconds": 0.1, "pids": 2,
    "memory_mapped_file_bytes": 4096, "memory_swap_bytes": 8192, "memory_major_page_faults": 3,
    "cpu_waiting_seconds": 1.5, "cpu_stalled_seconds": 0.25, "memory_waiting_seconds": 0.003,
    "memory_stalled_seconds": 0.002, "io_waiting_seconds": 0.007, "io_stalled_seconds": 0.006,
}  # fmt: skip


def test_v1() -> None:
    assert figures.v1(lambda controller: str(HERE / "cgroup_v1" / controller)) == pytest.approx(V1)


def test_v2() -> None:
    assert figures.v2(str(HERE / "cgroup_v2")) == pytest.approx(V2)


def test_a_hybrid_host_has_pressure_beside_v1(tmp_path: Path) -> None:
    group = Cgroup(Hierarchies({"pids": str(HERE / "cgroup_v1/pids")}, str(HERE / "cgroup_v2")), "")
    assert group.figures()["cpu_waiting_seconds"] == pytest.approx(1.5)
    assert "cpu_seconds" not in group.figures()


def test_samples_of_what_is_gone_are_none() -> None:
    there = Cgroup(Hierarchies({}, str(HERE)), "/cgroup_v2")
    gone = Cgroup(Hierarchies({}, str(HERE)), "/gone")
    found, missing = take_all([(there, 0), (gone, 0)])
    assert missing is None
    assert found is not None
    assert (found.cgroup, found.network) == ("/cgroup_v2", {})
    assert found.figures == pytest.approx({**V2, "processes": 2})


NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0: 1048576    1000    1    2    0     0          0         0   524288     900    3    4    0     0       0          0
"""


def test_interfaces(tmp_path: Path) -> None:
    (tmp_path / "7/net").mkdir(parents=True)
    (tmp_path / "7/net/dev").write_text(NET_DEV)
    assert interfaces(7, str(tmp_path)) == {
        "eth0": {
            "receive_bytes": 1048576, "receive_packets": 1000, "receive_errors": 1, "receive_dropped": 2,
            "transmit_bytes": 524288, "transmit_packets": 900, "transmit_errors": 3, "transmit_dropped": 4,
        }
    }  # fmt: skip
    assert interfaces(8, str(tmp_path)) == {}


def test_processes(tmp_path: Path) -> None:
    numbers = "1 1 1 0 -1 4194560 5 0 0 0 150 50 0 0 20 0 3 0 100 1000 25 18446744073709551615"
    for pid, args in ((7, b"sleep\0" + b"10 s\0"), (9, b"")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / f"{pid}/stat").write_text(f"{pid} (a) b (c) S {numbers}\n")
        (tmp_path / f"{pid}/cmdline").write_bytes(args)
    first, second = look_at([9, 8, 7], str(tmp_path))
    assert (first.pid, first.parent, first.state, first.threads, first.args) == (
        7,
        1,
        "S",
        3,
        ("sleep", "10 s"),
    )
    assert first.cpu_seconds == pytest.approx(2.0)
    assert first.memory == 25 * 4096
    assert second.args == ("[a) b (c]",)
