"""Control group files from fixture directories: no kernel needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tricorn.errors import FailedPrecondition
from tricorn.runtime.cgroup import Cgroup, Hierarchies, detect, prune

MOUNTINFO = """\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 /nested /mnt/other rw - cgroup cgroup rw,memory
34 31 0:31 / /sys/fs/my\\040memory rw - cgroup cgroup rw,memory
35 31 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
"""


def write(directory: Path, **files: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)


@pytest.fixture
def v2(tmp_path) -> tuple[Cgroup, Path]:
    base = tmp_path / "tricorn/ns/c"
    write(
        base,
        cgroup__procs="10\n11\n", cgroup__events="populated 1\nfrozen 0\n", cgroup__freeze="0",
        cpu__stat="usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_throttled 1\nthrottled_usec 100000\n",
        memory__current="4096\n", memory__max="max\n", memory__peak="8192\n",
        memory__stat="anon 1\ninactive_file 1024\n", memory__events="low 0\noom 3\noom_kill 2\n",
        pids__current="2\n", pids__max="100\n",
        io__stat="8:0 rbytes=100 wbytes=5 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2\n",
    )  # fmt: skip
    write(base / "inner", cgroup__procs="12\n")
    return Cgroup(Hierarchies({}, str(tmp_path), ("memory", "pids", "io")), "/tricorn/ns/c"), base


def test_mounts_are_read_with_only_whole_hierarchies_counting(tmp_path):
    (tmp_path / "mi").write_text(MOUNTINFO)
    found = detect(str(tmp_path / "mi"))
    assert found.mode == "v1"
    assert dict(found.v1) == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct", "memory": "/sys/fs/my memory",
        "name=systemd": "/sys/fs/cgroup/systemd",
    }  # fmt: skip


def test_modes(tmp_path):
    (tmp_path / "mi").write_text(MOUNTINFO + f"41 31 0:38 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "cgroup.controllers").write_text("hugetlb rdma\n")
    found = detect(str(tmp_path / "mi"))
    assert (found.mode, found.v2_controllers) == ("hybrid", ("hugetlb", "rdma"))
    (tmp_path / "mi").write_text(f"41 31 0:38 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    assert detect(str(tmp_path / "mi")).mode == "unified"
    (tmp_path / "mi").write_text("")
    assert detect(str(tmp_path / "mi")).mode == "none"


def test_figures_of_v2(v2):
    group, _ = v2
    assert group.figures() == pytest.approx({
        "cpu_seconds": 2.5, "cpu_user_seconds": 2.0, "cpu_system_seconds": 0.5, "cpu_throttled_seconds": 0.1,
        "cpu_throttled_periods": 1, "memory_bytes": 4096, "memory_peak_bytes": 8192, "memory_rss_bytes": 1,
        "memory_inactive_file_bytes": 1024, "memory_working_set_bytes": 3072, "memory_oom_kills": 2, "pids": 2,
        "pids_limit": 100, "io_read_bytes": 101, "io_write_bytes": 7, "io_read_ops": 1, "io_write_ops": 1,
    })  # fmt: skip
    assert group.oom_kills() == 2


def test_figures_without_controllers_are_left_out(tmp_path):
    write(tmp_path / "c", cpu__stat="usage_usec 1000000\n")
    assert Cgroup(Hierarchies({}, str(tmp_path)), "/c").figures() == {"cpu_seconds": 1.0}


def test_figures_of_v1(tmp_path):
    write(
        tmp_path / "memory/c",
        memory__usage_in_bytes="4096", memory__limit_in_bytes="9223372036854771712",
        memory__stat="cache 0\ntotal_inactive_file 12\n", memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    )  # fmt: skip
    write(tmp_path / "cpuacct/c", cpuacct__usage="1500000000")
    write(tmp_path / "pids/c", pids__current="3", pids__max="max")
    write(
        tmp_path / "blkio/c",
        blkio__throttle__io_service_bytes="8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n",
    )
    v1 = {name: str(tmp_path / name) for name in ("memory", "cpuacct", "pids", "blkio")}
    group = Cgroup(Hierarchies(v1), "/c")
    assert group.figures() == {
        "cpu_seconds": 1.5, "memory_bytes": 4096, "memory_inactive_file_bytes": 12, "memory_oom_kills": 1, "pids": 3,
        "memory_working_set_bytes": 4084, "memory_cache_bytes": 0,
        "io_read_bytes": 10, "io_write_bytes": 20,
    }  # fmt: skip
    assert group.oom_kills() == 1


def test_pids_include_those_below(v2):
    assert sorted(v2[0].pids()) == [10, 11, 12]


def test_a_cgroup_that_is_gone_has_nothing(tmp_path):
    group = Cgroup(Hierarchies({}, str(tmp_path)), "/none")
    assert (group.exists(), group.pids(), group.figures(), group.oom_kills()) == (False, [], {}, 0)


async def test_freezing_waits_until_all_stand_still(v2):
    group, base = v2
    (base / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    await group.freeze()
    assert (base / "cgroup.freeze").read_text() == "1"
    assert group.frozen()
    group.thaw()
    assert (base / "cgroup.freeze").read_text() == "0"


async def test_freezing_that_fails_is_taken_back(v2, autojump_clock):
    group, base = v2
    with pytest.raises(FailedPrecondition, match="freeze"):
        await group.freeze()
    assert (base / "cgroup.freeze").read_text().startswith("0")


async def test_removal_takes_what_is_below_and_can_be_repeated(tmp_path):
    (tmp_path / "a/tricorn/ns/c/inner/deep").mkdir(parents=True)
    (tmp_path / "b/tricorn/ns/c").mkdir(parents=True)
    hierarchies = Hierarchies({"x": str(tmp_path / "a"), "y": str(tmp_path / "b")})
    group = Cgroup(hierarchies, "/tricorn/ns/c")
    await group.remove()
    await group.remove()
    assert not (tmp_path / "a/tricorn/ns/c").exists()
    (tmp_path / "b/tricorn/used/c").mkdir(parents=True)
    prune(hierarchies)
    assert not (tmp_path / "a/tricorn").exists()
    assert [path.name for path in (tmp_path / "b/tricorn").iterdir()] == ["used"]


async def test_a_busy_cgroup_is_given_up_in_time(tmp_path, autojump_clock):
    write(tmp_path / "c", cgroup__procs="1\n")  # a plain file keeps rmdir from working
    await Cgroup(Hierarchies({}, str(tmp_path)), "/c").remove(seconds=0.5)
    assert (tmp_path / "c").exists()
