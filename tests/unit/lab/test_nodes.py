"""What keeps and starts a node, as far as it needs no node: cgroup views, locks, addresses, files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from lab import keeper
from lab.groups import Hierarchy, hierarchies
from lab.init import cgroup_mounts
from lab.nodefile import NodeFile
from lab.state import State
from lab.topology import LabError, parse

HYBRID = """\
25 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
27 25 0:24 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
28 25 0:25 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
29 25 0:26 / /mnt/elsewhere rw,relatime - cgroup cgroup rw,pids
"""
UNIFIED = "26 25 0:23 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
NODE = NodeFile("n1", "/base", "lab", "lab-11", "10.1.2.11/24", "lab/n1", 512)


def test_each_hierarchy_is_mounted_as_the_host_has_it() -> None:
    found = hierarchies(HYBRID)
    assert found == [
        Hierarchy("/sys/fs/cgroup/cpu", "cgroup", "cpu"),
        Hierarchy("/sys/fs/cgroup/systemd", "cgroup", "none,name=systemd"),
        Hierarchy("/sys/fs/cgroup/unified", "cgroup2", ""),
    ]
    assert [mount.target for mount in cgroup_mounts(found)] == [
        "sys/fs/cgroup", "sys/fs/cgroup/cpu", "sys/fs/cgroup/systemd", "sys/fs/cgroup/unified",
    ]  # fmt: skip


def test_a_unified_hierarchy_needs_nothing_above_it() -> None:
    (mount,) = cgroup_mounts(hierarchies(UNIFIED))
    assert (mount.kind, mount.target) == ("cgroup2", "sys/fs/cgroup")


def test_the_holder_of_a_nodes_lock_is_its_keeper(tmp_path: Path) -> None:
    assert keeper.pid(tmp_path) is None
    script = (
        "import sys; from pathlib import Path; from lab import keeper\n"
        f"with keeper.holding(Path({str(tmp_path)!r})): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-S", "-c", script]
    environment = {**os.environ, "PYTHONPATH": str(Path(keeper.__file__).parents[1])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert keeper.pid(tmp_path) == process.pid
        with pytest.raises(SystemExit), keeper.holding(tmp_path):
            pass
        process.communicate()
    assert keeper.pid(tmp_path) is None


def test_a_node_has_the_same_hardware_address_at_each_boot() -> None:
    assert keeper.hardware_address(NODE.address) == "02:74:0a:01:02:0b"


def test_a_nodes_file_is_read_back(tmp_path: Path) -> None:
    NODE.write(tmp_path)
    assert NodeFile.read(tmp_path) == NODE
    (tmp_path / "node.json").write_text(json.dumps({"name": "n1"}))
    with pytest.raises(TypeError):
        NodeFile.read(tmp_path)


def test_the_state_tells_ssh_and_the_inventory(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    topology = parse({"name": "lab", "subnet": "10.1.2.0/24", "count": 1, "registry": False}, tmp_path)
    state.node("n1").mkdir(parents=True)
    (state.node("n1") / "host_key.pub").write_text("ssh-ed25519 KEY\n")
    state.write(topology.nodes, topology.count)
    assert (state.directory / "known_hosts").read_text() == "10.1.2.11,n1 ssh-ed25519 KEY\n"
    assert "HostName 10.1.2.11" in state.ssh_config.read_text()
    assert state.count() == 1
    state.remove()
    assert not state.directory.exists()
    assert state.count() is None


def test_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    State(tmp_path).remove()
    assert (tmp_path / "mine").exists()


def test_half_made_nodes_go(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    for name in ("n1", ".n2"):
        state.node(name).mkdir(parents=True)
    state.prepare()
    assert [path.name for path in state.directory.glob("nodes/*")] == ["n1"]
    assert state.nodes() == ["n1"]
    assert state.key.exists()


def test_one_at_a_time_changes_a_lab(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    with state.held(), pytest.raises(LabError, match="another"), state.held():
        pass
