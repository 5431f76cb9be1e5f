"""The role on a node whose process 1 is systemd, over ssh: install, outlive the agent, shut down, boot, remove."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.images import ImageLayout, busybox_image
from tricorn_testing.node import Node, running_node
from tricorn_testing.node_base import base_directory
from tricorn_testing.paths import short_directory
from tricorn_testing.registry import registry_program, running_registry
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration, pytest.mark.slow]

PROJECT = Path(__file__).parents[2]
PLAYBOOKS = PROJECT / "collections/ansible_containerd/playbooks"
UNITS = ("tricornd.socket", "tricornd.service", "tricornd-shutdown.service")
# Says goodbye when asked to stop.
POLITE = "trap 'echo goodbye; exit 0' TERM; echo hello; while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with running_node(base_directory(PROJECT / ".lab")) as running:
        yield running


@pytest.fixture(scope="module")
def image(node: Node) -> Iterator[str]:
    """An image in a registry that the node reaches, until its first shutdown."""
    with short_directory() as directory:
        layout = ImageLayout(directory / "layout")
        busybox_image(layout, "polite", Cmd=["sh", "-c", POLITE])
        with running_registry(directory) as registry:
            reference = registry.push(layout, "polite", "systemd/polite:1")
        command = [registry_program(), "serve", str(directory / "registry.yml")]
        with node.serves(registry.address, command):
            yield reference


@pytest.fixture(scope="module")
def installed(node: Node, image: str) -> str:
    """The demonstration has run: the role, an image, a container `demo`; returns Ansible's output."""
    return play(node, "demo", image)


def play(node: Node, name: str, image: str, **more: Any) -> str:
    """Run a playbook of the collection against the node; return its output, AssertionError if it fails."""
    address = image.partition("/")[0]
    variables = {
        "agent_bundle_cache": str(PROJECT / ".ansible/bundles"),
        "agent_hosts": [{"host": address, "server": f"http://{address}"}],
        "demo_image": image, "demo_plain_http": True, **more,
    }  # fmt: skip
    connection = {"ansible_host": "127.0.0.1", "ansible_user": "root", "ansible_ssh_executable": node.ssh}
    inventory = node.directory / "inventory.json"  # variables of the host alone: localhost builds the bundle
    inventory.write_text(json.dumps({"all": {"hosts": {node.name: connection}}}))
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory),
        str(PLAYBOOKS / f"{name}.yml"), "--extra-vars", json.dumps(variables),
    ]  # fmt: skip
    environment = {
        **os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_HOME": str(node.directory / "ansible"), "ANSIBLE_SSH_CONTROL_PATH_DIR": str(node.directory / "cp"),
    }  # fmt: skip
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    journal = "" if done.returncode == 0 else node.attempt("journalctl -b --no-pager | tail -n 60").stdout
    assert done.returncode == 0, done.stdout + done.stderr + journal
    return done.stdout


def changes(output: str) -> int:
    return int(output.rpartition("changed=")[2].split()[0])


def properties(node: Node, unit: str, *names: str) -> dict[str, str]:
    output = node.run(f"systemctl show {unit} --property={','.join(names)}")
    return dict(line.split("=", 1) for line in output.splitlines())


def main_pid(node: Node) -> int:
    return int(node.run("systemctl show tricornd --property=MainPID --value"))


def container_pid(node: Node) -> int:
    task = json.loads(node.run("tricorn inspect demo"))
    pid: int = (task[0] if isinstance(task, list) else task)["task"]["pid"]
    return pid


def test_the_agent_runs_under_systemd(node: Node, installed: str) -> None:
    assert changes(installed) > 5
    service = properties(node, "tricornd.service", "ActiveState", "Type", "Delegate", "KillMode", "NRestarts")
    assert service == {
        "ActiveState": "active", "Type": "notify", "Delegate": "yes", "KillMode": "process", "NRestarts": "0",
    }  # fmt: skip
    assert node.run("stat --format='%U %G %a' /run/tricorn/tricorn.sock") == "root tricorn 660"
    assert node.run(f"systemctl is-enabled {' '.join(UNITS)}").split() == ["enabled"] * 3
    assert node.run("systemctl is-system-running") == "running"
    assert json.loads(node.run("tricorn info --json"))["statistics"] is not None


def test_a_second_run_changes_nothing(node: Node, installed: str, image: str) -> None:
    before = main_pid(node)
    output = play(node, "demo", image)
    assert changes(output) == 0, output
    assert main_pid(node) == before


@pytest.mark.parametrize(
    "command",
    [
        "systemctl restart tricornd",
        "systemctl kill --kill-who=main --signal=KILL tricornd",
        "systemctl reload tricornd",
    ],
)
def test_containers_outlive_the_agents_end(node: Node, installed: str, command: str) -> None:
    container, agent = container_pid(node), main_pid(node)
    node.run(command)
    if "reload" not in command:
        eventually(lambda: main_pid(node) not in {0, agent})
    eventually(lambda: node.attempt("tricorn info").returncode == 0)
    assert container_pid(node) == container
    assert node.run("tricorn exec demo echo still here") == "still here"
    assert node.run("systemctl is-active tricornd") == "active"


def test_containers_run_on_while_the_agent_is_stopped(node: Node, installed: str) -> None:
    container = container_pid(node)
    stop = node.run("systemctl stop tricornd 2>&1; systemctl is-active tricornd || true")
    assert stop.splitlines()[-1] in {"inactive", "deactivating"}
    assert "sh -c trap" in node.run(f"tr '\\0' ' ' </proc/{container}/cmdline")
    # the socket is still there: who asks wakes the agent, and is told to ask again until it is ready
    eventually(lambda: node.attempt("tricorn info").returncode == 0)
    assert container_pid(node) == container
    assert node.run("systemctl is-active tricornd") == "active"


def test_a_shutdown_stops_containers_and_a_boot_brings_the_agent(
    node: Node, installed: str, image: str
) -> None:
    node.run("tricorn run -d --name rude " + image + " sleep 1000")
    start = time.monotonic()
    node.power_off()
    assert time.monotonic() - start < 60
    log = (node.state / "containers/default/demo/log").read_text()
    assert log.splitlines()[-1].endswith("goodbye"), log

    node.boot()
    assert node.run("systemctl is-active tricornd.socket tricornd-shutdown").split() == ["active"] * 2
    eventually(lambda: node.attempt("tricorn info").returncode == 0)
    demo = json.loads(node.run("tricorn inspect demo"))
    assert demo["task"]["status"] == "stopped"
    assert demo["task"]["exit_code"] == 0
    node.run("tricorn start demo")
    assert node.run("tricorn exec demo echo up again") == "up again"


def test_removal_leaves_no_unit(node: Node, installed: str, image: str) -> None:
    output = play(node, "demo_clean", image)
    assert changes(output) > 3, output
    units = node.run(f"systemctl show --property=LoadState --value {' '.join(UNITS)}").split()
    assert units == ["not-found"] * 3
    assert node.attempt("systemctl is-system-running").stdout.strip() == "running"
    left = node.run(
        "ls -d /run/tricorn /etc/tricorn /opt/tricorn /usr/local/bin/tricorn* 2>/dev/null || true"
    )
    assert left == ""
    assert list(node.state.iterdir()) == []
    assert node.attempt("pgrep -x conmon").stdout == ""
    assert changes(play(node, "demo_clean", image)) == 0
