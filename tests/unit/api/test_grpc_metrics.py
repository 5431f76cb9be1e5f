"""Control group files of both versions as containerd's metrics messages."""

from __future__ import annotations

from tricorn.api.grpc.metrics_v1 import metrics_v1
from tricorn.api.grpc.metrics_v2 import metrics_v2

MAX = (1 << 64) - 1

V1 = {
    "pids.current": "3\n",
    "pids.max": "max\n",
    "cpuacct.usage": "123456789\n",
    "cpuacct.usage_percpu": "100000000 23456789 \n",
    "cpuacct.stat": "user 7\nsystem 5\n",
    "cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 99\n",
    "memory.stat": (
        "cache 4096\nrss 8192\nswap 9\npgpgin 11\npgmajfault 12\nhierarchical_memory_limit 1000\n"
        "hierarchical_memsw_limit 2000\ntotal_pgfault 13\ntotal_inactive_file 14\nnew_in_some_kernel 1\n"
    ),
    "memory.usage_in_bytes": "12288\n",
    "memory.max_usage_in_bytes": "20480\n",
    "memory.limit_in_bytes": "9223372036854771712\n",
    "memory.failcnt": "2\n",
    "memory.kmem.usage_in_bytes": "7\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 1\noom_kill 5\n",
    "blkio.throttle.io_service_bytes": "8:0 Read 4096\n8:0 Write 0\nTotal 4096\n",
    "blkio.throttle.io_serviced": "8:0 Read 1\nTotal 1\n",
    "hugetlb.2MB.usage_in_bytes": "0\n",
    "hugetlb.2MB.max_usage_in_bytes": "2097152\n",
    "hugetlb.2MB.failcnt": "1\n",
    "hugetlb.2MB.rsvd.usage_in_bytes": "5\n",
    "rdma.current": "mlx4_0 hca_handle=2 hca_object=7\n",
    "rdma.max": "mlx4_0 hca_handle=3 hca_object=max\n",
}

V2 = {
    "pids.current": "2\n",
    "pids.max": "100\n",
    "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 1\nnr_bursts 4\nburst_usec 5\ncore_sched 1\n",
    "cpu.pressure": "some avg10=1.50 avg60=0.20 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
    "memory.stat": "anon 4096\nfile 8192\npsi 1\nworkingset_refault_anon 3\nworkingset_refault_file 4\nthp_fault_alloc 9\n",
    "memory.current": "12288\n",
    "memory.max": "max\n",
    "memory.swap.current": "0\n",
    "memory.swap.max": "4096\n",
    "memory.peak": "20480\n",
    "memory.events": "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 5\nsock_throttled 6\n",
    "io.stat": "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n8:0 \nnonsense\n",
    "io.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n",
    "hugetlb.1GB.current": "0\n",
    "hugetlb.1GB.max": "max\n",
    "hugetlb.1GB.events": "max 6\n",
    "hugetlb.1GB.rsvd.current": "1\n",
    "rdma.current": "mlx4_0 hca_handle=2 hca_object=7\n",
}


def test_version_1() -> None:
    metrics = metrics_v1(V1)
    assert (metrics.pids.current, metrics.pids.limit) == (3, 0)
    assert (metrics.cpu.usage.total, list(metrics.cpu.usage.per_cpu)) == (123456789, [100000000, 23456789])
    assert (metrics.cpu.usage.user, metrics.cpu.usage.kernel) == (70_000_000, 50_000_000)
    throttling = metrics.cpu.throttling
    assert (throttling.periods, throttling.throttled_periods, throttling.throttled_time) == (10, 4, 99)
    memory = metrics.memory
    assert (memory.cache, memory.rss, memory.pg_pg_in, memory.pg_maj_fault) == (4096, 8192, 11, 12)
    assert (memory.hierarchical_memory_limit, memory.hierarchical_swap_limit) == (1000, 2000)
    assert (memory.total_pg_fault, memory.total_inactive_file) == (13, 14)
    assert (memory.usage.usage, memory.usage.max, memory.usage.failcnt) == (12288, 20480, 2)
    assert memory.usage.limit == 9223372036854771712
    assert memory.kernel.usage == 7
    assert not memory.HasField("swap")
    assert (metrics.memory_oom_control.under_oom, metrics.memory_oom_control.oom_kill) == (1, 5)
    read, written = metrics.blkio.io_service_bytes_recursive
    assert (read.major, read.minor, read.op, read.value, written.op) == (8, 0, "Read", 4096, "Write")
    assert len(metrics.blkio.io_serviced_recursive) == 1
    assert [(huge.pagesize, huge.max, huge.failcnt) for huge in metrics.hugetlb] == [("2MB", 2097152, 1)]
    assert (metrics.rdma.current[0].hca_objects, metrics.rdma.limit[0].hca_objects) == (7, (1 << 32) - 1)


def test_version_1_with_the_scheduler_that_counts_more() -> None:
    files = {**V1, "blkio.io_serviced_recursive": "8:0 Read 3\n", "blkio.sectors_recursive": "8:0 24\n"}
    blkio = metrics_v1(files).blkio
    assert [entry.value for entry in blkio.io_serviced_recursive] == [3]
    assert [(entry.op, entry.value) for entry in blkio.sectors_recursive] == [("", 24)]
    assert not blkio.io_service_bytes_recursive


def test_version_2() -> None:
    metrics = metrics_v2(V2)
    assert (metrics.pids.current, metrics.pids.limit) == (2, 100)
    cpu = metrics.cpu
    assert (cpu.usage_usec, cpu.user_usec, cpu.system_usec, cpu.nr_bursts, cpu.burst_usec) == (
        30,
        20,
        10,
        4,
        5,
    )
    assert (cpu.psi.some.avg10, cpu.psi.some.total, cpu.psi.full.total) == (1.5, 77, 3)
    memory = metrics.memory
    assert (memory.anon, memory.file, memory.workingset_refault, memory.thp_fault_alloc) == (4096, 8192, 7, 9)
    assert (memory.usage, memory.usage_limit, memory.max_usage) == (12288, MAX, 20480)
    assert (memory.swap_usage, memory.swap_limit, memory.swap_max_usage) == (0, 4096, 0)
    assert not memory.HasField("psi")
    events = metrics.memory_events
    assert (events.high, events.max, events.oom, events.oom_kill, events.oom_group_kill) == (1, 2, 3, 4, 5)
    used, bare = metrics.io.usage
    assert (used.major, used.minor, used.rbytes, used.wios, bare.rbytes) == (8, 16, 1459200, 353, 0)
    assert metrics.io.psi.some.total == 9
    assert [(huge.pagesize, huge.max, huge.failcnt) for huge in metrics.hugetlb] == [("1GB", MAX, 6)]
    assert metrics.rdma.current[0].device == "mlx4_0"


def test_a_host_without_controllers_has_no_figures() -> None:
    assert metrics_v1({}).ByteSize() == 0
    assert metrics_v2({}).ByteSize() == 0
