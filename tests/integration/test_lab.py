"""A fleet in the lab: nodes that the tool brings up, the agent on them by Ansible over ssh, under systemd."""

from __future__ import annotations

import json
import os

import pytest

from tricorn_testing.labs import UNITS, Lab, changes
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration, pytest.mark.slow]

NAMESPACES = ("mnt", "uts", "ipc", "pid", "net", "cgroup")


def test_each_node_is_a_machine_of_its_own(lab: Lab) -> None:
    script = (
        "hostname; cat /proc/1/comm; systemctl is-system-running; findmnt -no FSTYPE /var/lib/tricorn;"
        f"readlink {' '.join(f'/proc/self/ns/{name}' for name in NAMESPACES)}"
    )
    seen = {os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES}
    for node in ("registry", *lab.nodes):
        name, init, state, disk, *namespaces = lab.run(node, script).splitlines()
        assert (name, init, state, disk) == (node, "systemd", "running", "ext4")
        assert not seen & set(namespaces)
        seen |= set(namespaces)


def test_bringing_it_up_again_changes_nothing(lab: Lab) -> None:
    before = lab.status()
    assert "nothing to do" in lab.tool("up")
    after = lab.status()
    assert {name: node["pid"] for name, node in after.items()} == {
        name: node["pid"] for name, node in before.items()
    }
    assert {node["state"] for node in after.values()} == {"running"}


def test_the_agents_answer_over_ssh(fleet: Lab) -> None:
    answers = fleet.module("nodes", "node_info")
    assert sorted(answers) == list(fleet.nodes)
    assert {answer["node"]["root"] for answer in answers.values()} == {"/var/lib/tricorn"}


def test_each_node_runs_an_image_of_the_registry(fleet: Lab, polite_image: str) -> None:
    assert polite_image.startswith(fleet.registry)
    for name, answer in fleet.module(
        "nodes", "container_exec", container="lab", argv=["cat", "/hello"]
    ).items():
        assert answer["stdout"].strip() == "hello", name
    assert fleet.run("n1", "getent hosts n2").split()[-1] == "n2"


def test_a_second_run_changes_nothing(fleet: Lab, polite_image: str) -> None:
    output = fleet.play("lab", limit="registry,n2", lab_image=polite_image, lab_restart_policy="always")
    assert changes(output, "n2") == 0, output
    assert changes(output, "registry") == 0, output
    assert "Look at the node" in output
    assert "Write the configuration" not in output, "one look tells that all is in place"


def test_what_somebody_has_undone_is_seen_and_done_again(fleet: Lab) -> None:
    """One look at the node stands for many tasks: each of these undoes what another of them would do."""
    undo = (
        "chmod 600 /etc/tricorn/config.toml; systemctl -q disable tricornd-shutdown; chmod 700 /etc/tricorn/hosts.d;"
        "echo '# x' | tee -a /etc/tricorn/hosts.d/*/hosts.toml >>/etc/systemd/system/tricornd.service;"
        "ln -sfn /bin/true /usr/local/bin/tricorn"
    )
    look = (
        "stat -c %a /etc/tricorn/config.toml /etc/tricorn/hosts.d; systemctl is-enabled tricornd-shutdown;"
        "md5sum /etc/tricorn/hosts.d/*/hosts.toml /etc/systemd/system/tricornd.service; tricorn --version"
    )
    before, container = fleet.run("n2", look), fleet.run("n2", "tricorn inspect lab | grep '\"pid\"'")
    fleet.run("n2", undo)
    output = fleet.play("lab", limit="n2")
    assert changes(output, "n2") >= 6, output
    assert fleet.run("n2", look) == before
    assert fleet.run("n2", "tricorn inspect lab | grep '\"pid\"'") == container


def run(fleet: Lab, command: str) -> str:
    return fleet.run("n1", command)


def agent_answers(fleet: Lab) -> bool:
    return fleet.attempt("n1", "tricorn info").returncode == 0


def properties(fleet: Lab, unit: str, *names: str) -> dict[str, str]:
    output = run(fleet, f"systemctl show {unit} --property={','.join(names)}")
    return dict(line.split("=", 1) for line in output.splitlines())


def main_pid(fleet: Lab) -> int:
    return int(run(fleet, "systemctl show tricornd --property=MainPID --value"))


def inspected(fleet: Lab, container: str) -> dict[str, int | str]:
    view = json.loads(run(fleet, f"tricorn inspect {container}"))
    task: dict[str, int | str] = (view[0] if isinstance(view, list) else view)["task"]
    return task


def test_the_agent_runs_under_systemd(fleet: Lab) -> None:
    service = properties(
        fleet, "tricornd.service", "ActiveState", "Type", "Delegate", "KillMode", "NRestarts"
    )
    assert service == {
        "ActiveState": "active", "Type": "notify", "Delegate": "yes", "KillMode": "process", "NRestarts": "0",
    }  # fmt: skip
    assert run(fleet, "stat --format='%U %G %a' /run/tricorn/tricorn.sock") == "root tricorn 660"
    assert run(fleet, f"systemctl is-enabled {' '.join(UNITS)}").split() == ["enabled"] * 3
    assert run(fleet, "systemctl is-system-running") == "running"
    assert json.loads(run(fleet, "tricorn info --json"))["statistics"] is not None


@pytest.mark.parametrize(
    "command",
    [
        "systemctl restart tricornd",
        "systemctl kill --kill-who=main --signal=KILL tricornd",
        "systemctl reload tricornd",
    ],
)
def test_containers_outlive_the_agents_end(fleet: Lab, command: str) -> None:
    container, agent = inspected(fleet, "lab")["pid"], main_pid(fleet)
    run(fleet, command)
    if "reload" not in command:
        eventually(lambda: main_pid(fleet) not in {0, agent})
    eventually(lambda: agent_answers(fleet))
    assert inspected(fleet, "lab")["pid"] == container
    assert run(fleet, "tricorn exec lab echo still here") == "still here"
    assert run(fleet, "systemctl is-active tricornd") == "active"


def test_containers_run_on_while_the_agent_is_stopped(fleet: Lab) -> None:
    container = inspected(fleet, "lab")["pid"]
    stop = run(fleet, "systemctl stop tricornd 2>&1; systemctl is-active tricornd || true")
    assert stop.splitlines()[-1] in {"inactive", "deactivating"}
    assert "sh -c trap" in run(fleet, f"tr '\\0' ' ' </proc/{container}/cmdline")
    # the socket is still there: who asks wakes the agent, and is told to ask again until it is ready
    eventually(lambda: agent_answers(fleet))
    assert inspected(fleet, "lab")["pid"] == container
    assert run(fleet, "systemctl is-active tricornd") == "active"


def test_a_reboot_stops_containers_and_brings_back_what_their_policies_say(
    fleet: Lab, polite_image: str
) -> None:
    run(fleet, f"tricorn run -d --name polite {polite_image}")
    run(fleet, f"tricorn run -d --name rude {polite_image} sleep 1000")
    boot = run(fleet, "cat /proc/sys/kernel/random/boot_id")
    fleet.attempt("n1", "systemctl reboot")

    def is_up_again() -> bool:
        seen = fleet.attempt("n1", "cat /proc/sys/kernel/random/boot_id; systemctl is-system-running --wait")
        return seen.stdout.split()[-1:] == ["running"] and seen.stdout.split()[0] != boot

    eventually(is_up_again, "the node doesn't come back", timeout=150.0)
    assert run(fleet, "systemctl is-active tricornd.socket tricornd-shutdown").split() == ["active"] * 2
    eventually(lambda: agent_answers(fleet))

    polite = inspected(fleet, "polite")
    assert (polite["status"], polite["exit_code"]) == ("stopped", 0)
    assert run(fleet, "tricorn logs polite").splitlines() == ["hello", "goodbye"]
    assert inspected(fleet, "rude")["status"] == "stopped"
    eventually(lambda: inspected(fleet, "lab")["status"] == "running")
    assert "goodbye" in run(fleet, "tricorn logs lab").splitlines()
    run(fleet, "tricorn start polite")
    assert run(fleet, "tricorn exec polite echo up again") == "up again"
    run(fleet, "tricorn rm -f polite")
