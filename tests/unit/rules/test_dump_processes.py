"""Processes have no more of the node than their target's spec grants."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from tricorn.rules.criu_images import image
from tricorn.rules.dump_file_images import open_files as read_files
from tricorn.rules.dump_processes import open_files, processes
from tricorn.rules.dump_task_images import INFINITE, Task
from tricorn.rules.varints import field, packed_varint
from tricorn_testing.recorded_dump import SPEC, granted, recorded

BOUNDING = SPEC["process"]["capabilities"]["bounding"]


def found(task: Task, spec: dict[str, Any] = SPEC) -> list[str]:
    threads = tuple(evolve(thread, task=task) for thread in recorded().threads)
    return list(processes(evolve(recorded(), threads=threads), spec))


def able(*names: str) -> dict[str, Any]:
    return granted(process__capabilities__bounding=[*BOUNDING, *names])


def limits(**changed: int) -> Task:
    names = (
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME"
    )
    usual = dict.fromkeys(names.split(), INFINITE) | {"NOFILE": 1024, "NICE": 0, "RTPRIO": 0}
    return Task(limits=tuple((value, value) for value in (usual | changed).values()))


def test_what_was_recorded_is_granted() -> None:
    assert list(processes(recorded(), SPEC)) == []
    assert all(len(thread.task.limits) == 16 for thread in recorded().threads)
    assert found(limits()) == []


def test_they_are_no_safer_from_the_out_of_memory_killer() -> None:
    assert found(Task(oom_score_adj=-1)) == ["processes with an oom_score_adj of -1, not 0"]
    assert found(Task(oom_score_adj=500)) == []
    assert found(Task(oom_score_adj=-500), granted(process__oomScoreAdj=-500)) == []
    assert found(Task(oom_score_adj=-1), able("CAP_SYS_RESOURCE")) == []


@pytest.mark.parametrize(
    "task", [Task(policy=1, priority=1), Task(policy=6), Task(policy=0, priority=5), Task(nice=-1)]
)
def test_they_are_scheduled_like_others(task: Task) -> None:
    assert found(task)
    assert found(task, able("CAP_SYS_NICE")) == []
    assert found(task, granted(process__scheduler={"policy": "SCHED_FIFO"})) == []
    mapped = able("CAP_SYS_NICE")
    mapped["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert found(task, mapped), "in a user namespace it is worth nothing"


@pytest.mark.parametrize("policy", [3, 5])
def test_they_may_wait_for_others(policy: int) -> None:
    assert found(Task(policy=policy, nice=19)) == []


def test_named_limits_are_the_specs() -> None:
    spec = granted(process__rlimits=[{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}])
    assert found(limits(), spec) == []
    assert found(limits(NOFILE=1025), spec) == ["a limit RLIMIT_NOFILE of 1025, not 1024"]
    assert found(limits(NOFILE=INFINITE), spec) == ["a limit RLIMIT_NOFILE of infinity, not 1024"]
    more = granted(
        process__rlimits=spec["process"]["rlimits"], process__capabilities__bounding=["CAP_SYS_RESOURCE"]
    )
    assert found(limits(NOFILE=INFINITE), more) == []


def test_limits_by_which_they_would_come_before_others_are_none_by_default() -> None:
    assert found(limits(RTPRIO=99)) == ["a limit RLIMIT_RTPRIO of 99, not 0"]
    assert found(limits(NICE=40)) == ["a limit RLIMIT_NICE of 40, not 0"]
    assert found(limits(NICE=40), able("CAP_SYS_NICE")) == []


@pytest.mark.parametrize(
    ("kind", "packed", "capability"),
    [(10, b"", "CAP_NET_RAW"), (15, b"", "CAP_NET_ADMIN"), (12, b"", "CAP_SYS_ADMIN"), (19, b"", "CAP_BPF"),
     (4, field(4, b"\x20\x03"), "CAP_NET_RAW"), (1, field(6, b"\x08\x01"), "CAP_NET_RAW")],
)  # fmt: skip
def test_open_files_that_take_a_privilege(kind: int, packed: bytes, capability: str) -> None:
    files = read_files(image("files", b"\x08" + packed_varint(kind) + b"\x10\x01" + packed))
    without = granted(process__capabilities__bounding=[])
    assert capability in next(open_files(evolve(recorded(), files=files), without))
    with_it = granted(process__capabilities__bounding=[capability])
    assert list(open_files(evolve(recorded(), files=files), with_it)) == []


def test_marks_and_raw_sockets_take_the_capability_where_the_network_is() -> None:
    marked = evolve(
        recorded(), files=read_files(image("files", b"\x08\x04" + field(4, field(14, b"\x50\x07"))))
    )
    assert "marked" in next(open_files(marked, granted(process__capabilities__bounding=[])))
    mapped = granted(process__capabilities__bounding=["CAP_NET_ADMIN"])
    mapped["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert list(open_files(marked, mapped)) == []
    mapped["linux"]["namespaces"] = []
    assert list(open_files(marked, mapped)), "it is the node's"


def test_other_files_take_none() -> None:
    stream = field(4, b"\x20\x01")
    assert (
        list(open_files(evolve(recorded(), files=read_files(image("files", b"\x08\x04" + stream))), SPEC))
        == []
    )
    assert read_files(None) == ()
