"""The role `agent` on a node of the lab: upgrade, downgrade, and the way back from a release that fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tricorn.store.schema import MIGRATIONS
from tricorn_testing.bundles import other_release
from tricorn_testing.labs import PROJECT, WITH_CRIU, Lab

pytestmark = [pytest.mark.root, pytest.mark.integration, pytest.mark.slow]

NODE = "n1"
DATABASE = "/var/lib/tricorn/db/tricorn.db"
MARKER = "/etc/tricorn/broken"
# As long as the marker is there, the release changes the schema, and then ends.
BREAKS = {
    "store/schema.py": f"""
import os
if os.path.exists({MARKER!r}):
    MIGRATIONS += (("CREATE TABLE news (x INTEGER)",),)
""",
    "daemon.py": f"""
_serve = serve
async def serve(config, reload, systemd):
    if os.path.exists({MARKER!r}):
        async with open_agent(config, dict(os.environ)):
            raise RuntimeError("no such luck")
    await _serve(config, reload, systemd)
""",
}
# What a newer release's schema looks like to an older one, while an agent has the database open.
PRAGMA = (
    f'import sqlite3; c = sqlite3.connect("{DATABASE}"); c.execute("PRAGMA user_version={{}}"); c.close()'
)

LOOK = """
import json, os, subprocess
def say(*words):
    return subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout.decode()
print(json.dumps({
    "release": os.path.basename(os.path.realpath("/opt/tricorn/current")),
    "answers": json.loads(say("tricorn", "version", "--json"))["server"]["version"],
    "agent": say("systemctl", "show", "tricornd", "--property=MainPID", "--value").strip(),
    "container": json.loads(say("tricorn", "inspect", "lab"))["task"]["pid"],
    "config": open("/etc/tricorn/config.toml").read(),
}))
"""


@pytest.fixture
def node(fleet: Lab) -> Iterator[Lab]:
    """The fleet, whose node has its own release again afterwards."""
    name = fleet.run(NODE, "basename $(readlink /opt/tricorn/current)")
    yield fleet
    fleet.run(NODE, f"rm -f {MARKER}")
    assert fleet.run(NODE, "basename $(readlink /opt/tricorn/current)") == name


def schema(version: int) -> dict[str, Any]:
    """Return a task that makes the database say to be of a version."""
    return {"ansible.builtin.command": {"argv": ["/usr/bin/python3", "-c", PRAGMA.format(version)]}}


def install(bundle: Path, **variables: Any) -> list[dict[str, Any]]:
    """Return tasks that run the role, and tell what came of it and what the node is like then."""
    role = {
        "ansible.builtin.include_role": {"name": "tricorn.containerd.agent"},
        "vars": {"agent_bundle": str(bundle), **WITH_CRIU, **variables},
    }
    told = "{{ told | default([]) + [look.stdout | from_json | combine({'failure': failure})] }}"
    return [
        {
            "block": [{"ansible.builtin.set_fact": {"failure": ""}}, role],
            "rescue": [{"ansible.builtin.set_fact": {"failure": "{{ ansible_failed_result | to_json }}"}}],
        },
        {"ansible.builtin.command": {"argv": ["/usr/bin/python3", "-c", LOOK]}, "register": "look"},
        {"ansible.builtin.set_fact": {"told": told}},
    ]


def play(lab: Lab, directory: Path, *tasks: dict[str, Any]) -> list[dict[str, Any]]:
    """Run tasks on the node; return what they told."""
    keep = {
        "delegate_to": "localhost",
        "connection": "local",
        "ansible.builtin.copy": {"content": "{{ told | to_json }}", "dest": str(directory / "told.json")},
    }
    book = directory / "play.yml"
    book.write_text(json.dumps([{"hosts": NODE, "gather_facts": False, "tasks": [*tasks, keep]}]))
    lab.ansible("ansible-playbook", str(book))
    told: list[dict[str, Any]] = json.loads((directory / "told.json").read_text())
    return told


def test_releases_come_and_go_and_containers_run_on(node: Lab, tmp_path: Path) -> None:
    name = node.run(NODE, "basename $(readlink /opt/tricorn/current)")
    old = PROJECT / f".ansible/bundles/tricorn-{name}.tar.gz"
    new = tmp_path / "new.tar.gz"
    newer = other_release(old, "0.1.1", new, BREAKS)
    container = json.loads(node.run(NODE, "tricorn inspect lab"))["task"]["pid"]
    marker = {"ansible.builtin.copy": {"dest": MARKER, "content": ""}}
    unmark = {"ansible.builtin.file": {"path": MARKER, "state": "absent"}}
    broken, upgraded, refused, back = play(
        node, tmp_path,
        marker, *install(new, agent_config={"log_level": "debug"}), unmark,
        *install(new),
        schema(99), *install(old), schema(len(MIGRATIONS)),
        *install(old),
    )  # fmt: skip

    assert f"back at {name}" in broken["failure"]
    assert "it ended" in broken["failure"]
    assert "no such luck" in broken["failure"]  # the end of its journal
    assert (upgraded["failure"], back["failure"]) == ("", "")
    assert f"can't take over from {newer}, which runs on" in refused["failure"]
    assert "versions up to" in refused["failure"]

    assert [step["release"] for step in (broken, upgraded, refused, back)] == [name, newer, newer, name]
    assert [step["answers"] for step in (broken, upgraded, refused, back)] == [
        "0.1.0",
        "0.1.1",
        "0.1.1",
        "0.1.0",
    ]
    assert upgraded["agent"] == refused["agent"]  # nothing was stopped
    assert {step["container"] for step in (broken, upgraded, refused, back)} == {container}
    assert "debug" not in broken["config"]
    kept = node.run(NODE, f"ls {DATABASE}* /etc/tricorn/*~ /etc/systemd/system/*~ 2>/dev/null || true")
    assert kept.split() == [
        DATABASE,
        f"{DATABASE}-shm",
        f"{DATABASE}-wal",
        f"{DATABASE}.replaced",
        f"{DATABASE}.running",
    ]
    node.run(NODE, f"rm {DATABASE}.replaced")
