"""The agent moves itself to its own control group while a container is about to be created."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tricorn.runtime import attaching
from tricorn.runtime.attaching import Attachments, own_procs
from tricorn.runtime.cgroup import Hierarchies, detect


def membership(tmp_path: Path, *lines: str) -> str:
    file = tmp_path / "membership"
    file.write_text("".join(f"{line}\n" for line in lines))
    return str(file)


class Group:
    """Stands for the list of processes of the agent's group, and keeps what is written to it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.touch()

    @property
    def moves(self) -> int:
        return len(self.file.read_text())

    async def moved(self, times: int) -> None:
        """Wait until the agent moved itself here that often."""
        with trio.fail_after(30):
            while self.moves < times:  # noqa: ASYNC110 - the kernel's file doesn't tell
                await trio.sleep(0.005)


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Group:
    made = Group(tmp_path / "cgroup.procs")
    monkeypatch.setattr(attaching, "own_procs", lambda _: str(made.file))
    return made


def test_the_own_group_in_a_v1_hierarchy_is_found(tmp_path: Path) -> None:
    hierarchies = Hierarchies({"memory": "/cg/memory", "pids": "/cg/pids"}, "/cg/unified")
    lines = ("9:name=systemd:/x", "4:memory:/agents/one", "3:pids:/", "0::/agents")
    assert own_procs(hierarchies, membership(tmp_path, *lines)) == "/cg/memory/agents/one/cgroup.procs"


def test_the_own_group_in_the_unified_hierarchy_is_found(tmp_path: Path) -> None:
    found = own_procs(Hierarchies(v2="/sys/fs/cgroup"), membership(tmp_path, "0::/system.slice/a.service"))
    assert found == "/sys/fs/cgroup/system.slice/a.service/cgroup.procs"


def test_the_root_group_and_controllers_mounted_together(tmp_path: Path) -> None:
    hierarchies = Hierarchies({"cpu": "/cg/cpu,cpuacct", "cpuacct": "/cg/cpu,cpuacct"})
    assert own_procs(hierarchies, membership(tmp_path, "2:cpu,cpuacct:/")) == "/cg/cpu,cpuacct/cgroup.procs"


@pytest.mark.parametrize("line", ["0::/a", "5:pids:/../../elsewhere"])
def test_a_group_that_is_not_to_be_seen_is_an_error(tmp_path: Path, line: str) -> None:
    with pytest.raises(FileNotFoundError):
        own_procs(Hierarchies({"pids": "/cg/pids"}), membership(tmp_path, line))


async def test_nothing_is_done_while_nothing_is_expected(group: Group, nursery: trio.Nursery) -> None:
    nursery.start_soon(Attachments(Hierarchies()).run)
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert group.moves == 0


async def test_an_expectation_is_met_at_once_and_passes(group: Group, nursery: trio.Nursery) -> None:
    attachments = Attachments(Hierarchies())
    nursery.start_soon(attachments.run)
    attachments.expect()
    await group.moved(1)
    with trio.fail_after(30):
        while attachments.at_work:  # noqa: ASYNC110 - a thread doesn't tell
            await trio.sleep(0.005)


async def test_it_lasts_as_long_as_the_work_does(
    group: Group, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attaching, "_AHEAD", 0.0)
    attachments = Attachments(Hierarchies())
    nursery.start_soon(attachments.run)
    with attachments.expected():
        await group.moved(5)


async def test_a_group_out_of_reach_ends_it_quietly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attaching, "own_procs", lambda _: str(tmp_path / "none"))
    attachments = Attachments(Hierarchies())
    attachments.expect()
    with trio.fail_after(30):
        await attachments.run()
    assert not attachments.usable


@pytest.mark.root
def test_this_machine_takes_it(tmp_path: Path) -> None:
    before = Path("/proc/self/cgroup").read_text()
    Path(own_procs(detect())).write_text("0")
    assert Path("/proc/self/cgroup").read_text() == before
