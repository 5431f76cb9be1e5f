"""The role that installs CNI plugins and lists: what it writes is what the agent reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tricorn.rules.cni import parse_list

pytestmark = [pytest.mark.root, pytest.mark.integration, pytest.mark.slow]

PROJECT = Path(__file__).parents[2]
IPAM = {"type": "host-local", "subnet": "10.7.0.0/24"}
LISTS: list[dict[str, Any]] = [
    {"name": "storage", "plugins": [{"type": "bridge", "bridge": "s0", "ipam": IPAM}], "disable_check": True},
    {"name": "gone", "state": "absent"},
]


def play(directory: Path, *arguments: str, times: int = 1, **variables: Any) -> tuple[list[int], str]:
    """Run the role on this machine, with its files in `directory`; return the changes of each time."""
    role = {"name": "R", "ansible.builtin.import_role": {"name": "tricorn.containerd.cni"}}
    book = directory / "play.yml"
    book.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [role]}] * times))
    known = {
        "ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3",
        "cni_config_dir": str(directory / "net.d"), "cni_bin_dir": str(directory / "bin"),
        "cni_cache_dir": str(directory / "cache"), **variables,
    }  # fmt: skip
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "node,", str(book)]
    done = subprocess.run(
        [*command, "--extra-vars", json.dumps(known), *arguments], cwd=PROJECT,
        env={
            **os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOME": str(directory / "home"), "ANSIBLE_REMOTE_TEMP": str(directory / "tmp"),
        },
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    plays = done.stdout.split("PLAY [")[1:]
    return [part.count("\nchanged:") for part in plays], done.stdout


def test_what_the_role_writes_is_what_the_agent_reads(tmp_path: Path) -> None:
    (tmp_path / "bridge").write_text("#!/bin/sh\n")
    (tmp_path / "bridge").chmod(0o755)
    with tarfile.open(tmp_path / "plugins.tgz", "w:gz") as archive:
        archive.add(tmp_path / "bridge", "./bridge")
    (tmp_path / "net.d").mkdir()
    (tmp_path / "net.d/gone.conflist").write_text("{}")

    (first, second), output = play(
        tmp_path, "--diff", times=2, cni_file=str(tmp_path / "plugins.tgz"), cni_lists=LISTS
    )
    assert (first, second) == (4, 0), output  # the directory, the plugins, one list comes, one goes
    assert os.access(tmp_path / "bin/bridge", os.X_OK)
    (written,) = (tmp_path / "net.d").iterdir()
    found = parse_list(written.read_bytes(), str(written))
    assert (found.name, found.version, found.disable_check) == ("storage", "1.0.0", True)
    assert found.plugins == ({"type": "bridge", "bridge": "s0", "ipam": IPAM},)
