"""A lab of the tests' own: nodes with systemd and sshd, brought up by the tool, driven by Ansible over ssh."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

from tricorn_testing.images import ImageLayout, LayerBuilder, busybox_layer
from tricorn_testing.paths import short_directory
from tricorn_testing.registry import Registry

PROJECT = Path(__file__).parents[3]
PLAYBOOKS = PROJECT / "collections/ansible_containerd/playbooks"
# What gives the role `agent` a CRIU for nodes that reach no mirror: all tests' agents have one
WITH_CRIU = {"agent_criu": True, "agent_criu_from": "controller", "agent_criu_cache": str(PROJECT / ".lab")}
UNITS = ("tricornd.socket", "tricornd.service", "tricornd-shutdown.service")
# Says goodbye when asked to stop.
POLITE = "trap 'echo goodbye; exit 0' TERM; echo hello; while :; do sleep 0.1; done"


@frozen
class Lab:
    """A lab whose files are below `directory`; its bridge and its cgroup are called `name`."""

    directory: Path
    name: str
    subnet: str
    count: int = 0

    @property
    def nodes(self) -> tuple[str, ...]:
        """Return the names of the nodes, the registry's not among them."""
        return tuple(f"n{number}" for number in range(1, self.count + 1))

    @property
    def topology(self) -> Path:
        return self.directory / "lab.yml"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def registry(self) -> str:
        """Return host and port of the registry."""
        return f"{self.subnet.removesuffix('.0/24')}.2:5000"

    def write_topology(self, count: int) -> None:
        document = {
            "plugin": "tricorn.containerd.lab", "name": self.name, "subnet": self.subnet, "count": count,
            "state": "state", "disk": 2048,
        }  # fmt: skip
        self.topology.write_text(yaml.safe_dump(document))

    def start_tool(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the lab's command line."""
        command = [
            sys.executable,
            "-m",
            "lab",
            "--topology",
            str(self.topology),
            "--cache",
            str(PROJECT / ".lab"),
        ]
        return subprocess.Popen(
            [*command, *arguments], cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT / "tools")},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def tool(self, *arguments: str) -> str:
        """Return what the command line says; AssertionError if it fails."""
        with self.start_tool(*arguments) as process:
            output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, output
        return output

    def status(self) -> dict[str, dict[str, Any]]:
        """Return the nodes by their names, as `status --json` tells them, running or not."""
        with self.start_tool("status", "--json") as process:
            output, _ = process.communicate(timeout=120)
        return {node["name"]: node for node in json.loads(output)}

    def attempt(self, node: str, command: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a shell command on a node, whatever becomes of it."""
        words = [
            "ssh",
            "-F",
            str(self.state / "ssh_config"),
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=10",
        ]
        return subprocess.run(
            [*words, "-o", "LogLevel=ERROR", node, command], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def run(self, node: str, command: str, timeout: float = 60.0) -> str:
        """Return a command's output without the last line's end; AssertionError if it fails."""
        done = self.attempt(node, command, timeout)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.rstrip("\n")

    def play(self, name: str, *, limit: str = "all", **variables: Any) -> str:
        """Run a playbook of the collection against the lab; return its output, AssertionError if it fails."""
        variables = {"agent_bundle_cache": str(PROJECT / ".ansible/bundles"), **WITH_CRIU, **variables}
        return self.ansible(
            "ansible-playbook", str(PLAYBOOKS / f"{name}.yml"), "--limit", limit,
            "--extra-vars", json.dumps(variables),
        )  # fmt: skip

    def module(self, pattern: str, name: str, **arguments: Any) -> dict[str, dict[str, Any]]:
        """Run a module on nodes; return its result by the node's name. AssertionError if one fails."""
        with tempfile.TemporaryDirectory(dir=self.directory) as results:
            words = ["-a", json.dumps(arguments)] if arguments else []
            self.ansible("ansible", pattern, "-t", results, "-m", f"tricorn.containerd.{name}", *words)
            return {path.name: json.loads(path.read_text()) for path in Path(results).iterdir()}

    def ansible(self, program: str, *arguments: str) -> str:
        """Return what one of Ansible's programs prints, on this lab's inventory; AssertionError if it fails."""
        done = self.attempt_ansible(program, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr + self.journals()
        return done.stdout

    def attempt_ansible(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of Ansible's programs on this lab's inventory, whatever becomes of it."""
        return subprocess.run(
            [str(Path(sys.executable).with_name(program)), "-i", str(self.topology), *arguments], cwd=PROJECT,
            env={
                **os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_HOME": str(self.directory / "ansible"),
            },
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip

    def journals(self) -> str:
        """Return the end of each node's journal, for who has to find out why something failed."""
        command = "journalctl -b --no-pager --output=cat | tail -n 40"
        nodes = sorted(path.name for path in self.state.glob("nodes/[!.]*"))
        return "".join(f"\n--- journal of {node}\n{self.attempt(node, command).stdout}" for node in nodes)


def polite_image(lab: Lab) -> str:
    """Put an image into the lab's registry that says goodbye and has a file `hello`; return its reference."""
    lab.play("lab", limit="registry")
    layout = ImageLayout(lab.directory / "polite")
    layers = [busybox_layer(), LayerBuilder().file("hello", "hello\n").layer()]
    settings = {"Cmd": ["sh", "-c", POLITE], "Env": ["PATH=/bin:/usr/bin"]}
    layout.tag("polite", layout.add_image(layers, settings))
    return Registry(lab.registry).push(layout, "polite", "systemd/polite:1")


def provide_agents(lab: Lab, image: str) -> None:
    """Have an agent and its container `lab`, which is always restarted, on each node: where one is missing."""
    missing = [node for node in lab.nodes if lab.attempt(node, "tricorn inspect lab").returncode]
    if missing:
        lab.play("lab", limit=",".join(missing), lab_image=image, lab_restart_policy="always")


def changes(output: str, host: str) -> int:
    """Return how many tasks a playbook's recap says to have changed something on a host."""
    (line,) = [line for line in output.splitlines() if line.startswith(host) and " ok=" in line]
    return int(line.partition("changed=")[2].split()[0])


@contextlib.contextmanager
def running_lab(count: int) -> Iterator[Lab]:
    """Bring up a lab for the length of the context; nothing of it is left."""
    with short_directory() as directory:
        subnet = f"10.{200 + secrets.randbelow(55)}.{secrets.randbelow(256)}.0/24"
        lab = Lab(directory, f"t{secrets.token_hex(3)}", subnet, count)
        lab.write_topology(count)
        try:
            lab.tool("up")
            yield lab
        finally:
            lab.tool("down")
