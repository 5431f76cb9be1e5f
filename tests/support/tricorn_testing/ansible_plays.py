"""Tasks of our collection, run by a real ansible-playbook on this machine."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from attrs import field, frozen

PROJECT = Path(__file__).parents[3]
COLLECTION = "tricorn.containerd"
Task = dict[str, Any]

# Connections to this machine that Ansible takes for others: one can pipeline, one can't.
ELSEWHERE = '''
DOCUMENTATION = """
name: {name}
short_description: {name}
description: This machine, but not by the name of local.
author: tests
"""
from ansible.plugins.connection.local import Connection as Local

class Connection(Local):
    transport = "{name}"
    has_pipelining = {pipelining}
'''
WAYS = {"socket": "local", "relay": "elsewhere", "module": "faraway"}


@frozen
class Played:
    """One run of a playbook: its output, and what each task returned."""

    output: str
    results: list[dict[str, Any]] = field(factory=list)

    @property
    def changed(self) -> list[bool]:
        return [result["changed"] for result in self.results]


@frozen
class Ansible:
    """Runs tasks on this machine from a directory of its own."""

    directory: Path

    def __attrs_post_init__(self) -> None:
        plugins = self.directory / "connection"
        plugins.mkdir()
        for name, pipelining in (("elsewhere", True), ("faraway", False)):
            (plugins / f"{name}.py").write_text(ELSEWHERE.format(name=name, pipelining=pipelining))

    def play(self, socket: str, *tasks: Task, way: str = "socket", arguments: Sequence[str] = ()) -> Played:
        """Run tasks of our modules, all to the end, failed or not."""
        results = self.directory / "results.json"
        results.unlink(missing_ok=True)
        registered = [
            {"name": f"Task {number}", **task, "register": f"r{number}", "ignore_errors": True}
            for number, task in enumerate(tasks)
        ]
        content = "{{ [" + ", ".join(f"r{number}" for number in range(len(tasks))) + "] | to_json }}"
        keep = {"name": "Keep", "check_mode": False, "diff": False, "delegate_to": "localhost",
                "connection": "local", "ansible.builtin.copy": {"content": content, "dest": str(results)}}  # fmt: skip
        play = {
            "hosts": "all", "gather_facts": False, "tasks": [*registered, keep],
            "module_defaults": {f"group/{COLLECTION}.node": {"socket": socket}},
        }  # fmt: skip
        book = self.directory / "play.yml"
        book.write_text(json.dumps([play]))
        variables = {"ansible_connection": WAYS[way], "ansible_python_interpreter": "/usr/bin/python3"}
        done = self.run(book, variables, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return Played(done.stdout + done.stderr, json.loads(results.read_text()))

    def play_examples(self, socket: str, *modules: str, **variables: Any) -> Played:
        """Run the examples of modules as they are documented, one after another; they must all succeed."""
        tasks = [example for module in modules for example in examples(module)]
        play = {
            "hosts": "all", "gather_facts": False, "tasks": tasks,
            "module_defaults": {f"group/{COLLECTION}.node": {"socket": socket}},
        }  # fmt: skip
        book = self.directory / "examples.yml"
        book.write_text(json.dumps([play]))
        done = self.run(book, {"ansible_connection": WAYS["relay"], **variables})
        assert done.returncode == 0, done.stdout + done.stderr
        return Played(done.stdout + done.stderr)

    def run(
        self, book: Path, variables: Mapping[str, Any], *arguments: str, timeout: float = 300, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        command = [
            str(Path(sys.executable).with_name("ansible-playbook")), "-i", "node,", str(book),
            "--extra-vars", json.dumps(dict(variables)), *arguments,
        ]  # fmt: skip
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_CONNECTION_PLUGINS": str(self.directory / "connection"),
            "ANSIBLE_HOME": str(self.directory / "home"),
            "ANSIBLE_REMOTE_TEMP": str(self.directory / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
            **settings,
        }
        return subprocess.run(
            command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip


def task(module: str, /, *, keywords: Mapping[str, Any] | None = None, **options: Any) -> Task:
    return {f"{COLLECTION}.{module}": options, **(keywords or {})}


def examples(module: str, kind: str = "modules") -> list[Task]:
    """Return the tasks of a module's EXAMPLES, or of another plugin's."""
    source = (PROJECT / f"collections/ansible_containerd/plugins/{kind}/{module}.py").read_text()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXAMPLES":
            found: list[Task] = yaml.safe_load(ast.literal_eval(node.value))
            return found
    raise AssertionError(f"{module} has no examples")
