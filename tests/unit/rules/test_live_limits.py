from __future__ import annotations

from typing import Any

import attrs
import pytest

from tricorn.errors import InvalidArgument
from tricorn.model.records import Container, TaskStatus
from tricorn.model.requests import BlkioLimit, ContainerDesired, LimitsUpdate, Resources
from tricorn.model.spec import HostLimits
from tricorn.rules.live_limits import merged, update_document
from tricorn.rules.plan import canonical, container_steps

EVERYTHING = (1 << 63) - 4096
V1 = HostLimits(cgroup_mode="v1")
OLD = Resources(memory=64 << 20, cpus=1.0, pids=10, memory_reservation=1 << 20, cpu_shares=2)


def test_what_is_not_named_stays() -> None:
    assert merged(OLD, LimitsUpdate(pids=20)) == attrs.evolve(OLD, pids=20)
    gone = merged(OLD, LimitsUpdate(memory=-1, cpus=-1, memory_swap=-1, cpuset_cpus="0"))
    assert (gone.memory, gone.cpus, gone.memory_swap, gone.cpuset_cpus) == (None, None, -1, "0")


@pytest.mark.parametrize(
    ("update", "field"),
    [
        (LimitsUpdate(), ""),
        (LimitsUpdate(cpuset_cpus=""), "cpuset_cpus"),
        (LimitsUpdate(blkio=()), "blkio"),
    ],
)
def test_what_makes_no_sense(update: LimitsUpdate, field: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        merged(OLD, update)
    assert (raised.value.field or "") == field


def test_a_document_has_all_limits_and_lifts_those_that_went() -> None:
    live, spec, warnings = update_document(OLD, Resources(memory=32 << 20), V1)
    assert spec == {"memory": {"limit": 32 << 20}}
    assert live == {
        "memory": {"limit": 32 << 20, "reservation": EVERYTHING}, "pids": {"limit": 1 << 22},
        "cpu": {"quota": 819_200_000, "period": 100_000, "shares": 1024},
    }  # fmt: skip
    assert warnings == []
    live, spec, _ = update_document(
        OLD, Resources(), HostLimits(cgroup_mode="unified", swap_accounting=False)
    )
    assert spec == {}
    assert live["memory"] == {"limit": EVERYTHING, "reservation": 0}


def test_block_devices() -> None:
    wanted = Resources(blkio_weight=50, blkio=(BlkioLimit("8:0", read_bps=100, write_iops=7),))
    _, spec, _ = update_document(Resources(), wanted, V1)
    assert spec["blockIO"] == {
        "weight": 50, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 100}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 7}],
    }  # fmt: skip
    for bad in (BlkioLimit("/dev/sda"), BlkioLimit("8:0", read_bps=-1)):
        with pytest.raises(InvalidArgument):
            update_document(Resources(), Resources(blkio=(bad,)), V1)
    with pytest.raises(InvalidArgument, match="within 10"):
        update_document(Resources(), Resources(blkio_weight=5), V1)


def steps(old: Any, new: Resources) -> tuple[str, ...]:
    stored = {**canonical(ContainerDesired("i")), "resources": old}
    desired = ContainerDesired("i", resources=new)
    found = container_steps(Container("c", desired=stored), TaskStatus.RUNNING, desired, "")
    return tuple(action.verb for action in found.actions("c"))


def test_a_plan_changes_limits_in_place_where_that_is_possible() -> None:
    plain = canonical(ContainerDesired("i", resources=OLD))["resources"]
    assert steps(plain, OLD) == ()
    assert steps(plain, Resources()) == ("update",)
    assert (
        steps({"memory": None, "pids": 5}, Resources(pids=5)) == ()
    )  # stored before there were block devices
    assert steps({**plain, "cpuset_cpus": "0-1"}, attrs.evolve(OLD, cpuset_cpus="1")) == ("update",)
    assert steps({**plain, "cpuset_cpus": "0-1"}, OLD) == ("recreate", "start")
    device = {"device": "8:0", "read_bps": 1}
    assert (
        steps({**plain, "blkio": [device]}, attrs.evolve(OLD, blkio=(BlkioLimit("8:16", 1),)))[0]
        == "recreate"
    )
