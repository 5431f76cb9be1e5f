"""The end of the lab that all tests share, and of labs in general: what takes away leaves nothing behind.

By its name it comes after the other tests of the lab, which need what it takes away.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tricorn_testing import leaks
from tricorn_testing.labs import UNITS, Lab, changes, running_lab
from tricorn_testing.processes import command_line
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration, pytest.mark.slow]


def test_removal_leaves_no_unit(fleet: Lab) -> None:
    output = fleet.play("demo_clean", limit="n1")
    assert changes(output, "n1") > 3, output
    units = fleet.run("n1", f"systemctl show --property=LoadState --value {' '.join(UNITS)}").split()
    assert units == ["not-found"] * 3
    assert fleet.attempt("n1", "systemctl is-system-running").stdout.strip() == "running"
    left = fleet.run(
        "n1", "ls -d /run/tricorn /etc/tricorn /opt/tricorn /usr/local/bin/tricorn* 2>/dev/null || true"
    )
    assert left == ""
    assert fleet.run("n1", "ls -A /var/lib/tricorn") == ""
    eventually(lambda: fleet.attempt("n1", "pgrep -x conmon").stdout == "")
    assert changes(fleet.play("demo_clean", limit="n1"), "n1") == 0


def test_what_a_killed_run_has_left_is_taken_up_or_away(lab: Lab) -> None:
    kept = {name: node["pid"] for name, node in lab.status().items()}
    with lab.start_tool("up", "--nodes", "5") as process:
        eventually(lambda: list(lab.state.glob("nodes/*n5*")))
        process.kill()
    (lab.state / "nodes/.n6").mkdir()
    lab.tool("up", "--nodes", "3")
    assert {name: node["pid"] for name, node in lab.status().items()} == kept
    assert not list(lab.state.glob("nodes/*n5*"))


def test_taking_it_down_leaves_nothing() -> None:
    before = leaks.look()
    with running_lab(1) as lab:
        keepers = [node["pid"] for node in lab.status().values()]
        os.kill(keepers[0], signal.SIGKILL)  # and one that died is no hindrance
        eventually(lambda: "off" in {node["state"] for node in lab.status().values()})
    assert not leaks.look().of_machine().since(before, (lab.name, str(lab.directory)))
    assert not Path("/sys/class/net", lab.name).exists()
    assert not any(command_line(pid) for pid in keepers)
    assert "nothing to do" in running_tool_after(lab)


def running_tool_after(lab: Lab) -> str:
    """Take the same lab down once more."""
    lab.directory.mkdir()
    lab.write_topology(1)
    try:
        return lab.tool("down")
    finally:
        lab.topology.unlink()
        lab.directory.rmdir()
