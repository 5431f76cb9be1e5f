"""Times Ansible tasks: a play of many less a play of none, divided by their number."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
REPEATS = 15


class TaskTimer:
    def __init__(self, directory: Path, socket: str, programs: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._programs = programs
        self.ping: Mapping[str, Any] = {"ansible.builtin.ping": {}}
        self.node_info: Mapping[str, Any] = {"tricorn.containerd.node_info": {"socket": socket}}

    def marginal(self, task: Mapping[str, Any]) -> float:
        """Return the seconds that one more such task takes."""
        return (self._play(task, REPEATS) - self._play(task, 0)) / REPEATS

    def _play(self, task: Mapping[str, Any], count: int) -> float:
        tasks = [{"name": f"Task {number}", **task} for number in range(count)]
        play = [{"name": "Time tasks", "hosts": "all", "gather_facts": False, "tasks": tasks}]
        file = self._directory / "play.yml"
        file.write_text(json.dumps(play))  # JSON is YAML
        command = [self._programs / "ansible-playbook", "-i", PROJECT / "inventory/local.yml", file]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_HOME": str(self._directory / "home"),
            "ANSIBLE_REMOTE_TEMP": str(self._directory / "home/tmp"),
            "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / "collections"),
        }
        began = time.perf_counter()
        outcome = subprocess.run(
            list(map(str, command)), env=environment, capture_output=True, text=True, cwd=PROJECT, check=False
        )
        took = time.perf_counter() - began
        if outcome.returncode:
            raise RuntimeError(f"the timed play failed:\n{outcome.stdout[-1500:]}{outcome.stderr[-500:]}")
        return took
