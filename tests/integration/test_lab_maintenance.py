"""Nodes that are maintained, by playbooks over ssh: agents upgraded and put back, containers drained that can't
be migrated, peers that leave.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.bundles import other_release
from tricorn_testing.labs import PLAYBOOKS, PROJECT, WITH_CRIU, Lab, changes
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration, pytest.mark.slow]
NS = "maintained"
BREAKS = {"daemon.py": "\nasync def serve(*_):\n    raise RuntimeError('no such luck')\n"}
RELEASE = "basename $(readlink /opt/tricorn/current)"


@pytest.fixture
def releases(fleet: Lab) -> Iterator[dict[str, str]]:
    """The release of each node, which it has again afterwards."""
    names = {node: fleet.run(node, RELEASE) for node in fleet.nodes}
    yield names
    for node, name in names.items():
        if fleet.run(node, RELEASE) != name:
            fleet.run(node, f"ln -sfn releases/{name} /opt/tricorn/current && systemctl restart tricornd")
            eventually(lambda node=node: fleet.attempt(node, "tricorn info").returncode == 0)


def pid(lab: Lab, node: str, name: str, namespace: str = "default") -> int:
    """Return the process of a container that runs, 0 otherwise."""
    seen = lab.attempt(node, f"tricorn -n {namespace} inspect {name}")
    task = json.loads(seen.stdout)["task"] if seen.returncode == 0 else None
    return int(task["pid"]) if task and task["status"] == "running" else 0


def play(lab: Lab, name: str, **variables: Any) -> tuple[int, str]:
    """Run a playbook whatever comes of it; return its status, and its words without their line ends."""
    given = json.dumps({**WITH_CRIU, **variables})
    done = lab.attempt_ansible("ansible-playbook", str(PLAYBOOKS / f"{name}.yml"), "--extra-vars", given)
    print(done.stdout + done.stderr)
    return done.returncode, re.sub(r"\s+", " ", done.stdout)


def test_agents_are_upgraded_and_a_bad_release_stops_at_the_first_node(
    fleet: Lab, releases: dict[str, str], tmp_path: Path
) -> None:
    old = PROJECT / f".ansible/bundles/tricorn-{releases['n1']}.tar.gz"
    newer = other_release(old, "0.1.1", tmp_path / "newer.tar.gz")
    other_release(old, "0.1.2", tmp_path / "broken.tar.gz", BREAKS)
    before = pid(fleet, "n1", "lab")
    assert before

    code, told = play(
        fleet, "upgrade_agents", upgrade_agents_hosts="n1", agent_bundle=f"{tmp_path}/newer.tar.gz"
    )
    assert code == 0
    assert re.search(r"0\.1\.0 before, 0\.1\.1 now; \d+ containers run on", told)
    assert (fleet.run("n1", RELEASE), pid(fleet, "n1", "lab")) == (newer, before)

    code, told = play(fleet, "upgrade_agents", agent_bundle=f"{tmp_path}/broken.tar.gz")
    assert code != 0
    assert f"back at {newer}" in told
    assert "no such luck" in told
    assert (fleet.run("n1", RELEASE), pid(fleet, "n1", "lab")) == (newer, before)
    assert fleet.run("n2", RELEASE) == releases["n2"], "a node was begun after one that failed"
    assert "0.1.1" in fleet.run("n1", "tricorn version")


@pytest.fixture(scope="module")
def peers(fleet: Lab) -> Iterator[Lab]:
    """The fleet, whose nodes are each other's peers; whatever happens they aren't afterwards."""
    fleet.play("peers", limit="n1,n2", peers_authority=str(fleet.directory / "maintained"))
    try:
        yield fleet
    finally:
        for node in ("n1", "n2"):
            fleet.attempt(
                node,
                f"tricorn node uncordon; tricorn -n {NS} rm -f moves; tricorn -n {NS} rm -f stays;"
                "tricorn namespace label default tricorn.io/drained=; tricorn start lab;"
                "test ! -e /etc/tricorn/conf.d/peers.toml || {"
                "  rm -rf /etc/tricorn/conf.d/peers.toml /etc/tricorn/peers; systemctl restart tricornd; }",
            )


def test_what_can_not_be_migrated_is_started_anew_elsewhere_or_stays(peers: Lab, polite_image: str) -> None:
    """Debian's crun can't dump. One of the two needs a directory that the other node hasn't."""
    peers.run("n1", "mkdir -p /srv/here")
    command = f"tricorn -n {NS} run -d --runtime crun --restart always --stop-timeout 1"
    peers.run("n1", f"{command} --name moves {polite_image}")
    peers.run("n1", f"{command} --name stays --mount type=bind,src=/srv/here,dst=/here {polite_image}")

    drain = {
        "drain_hosts": "n1",
        "drain_to": "n2",
        "drain_namespaces": [NS],
        "drain_restart": True,
        "drain_reason": "new disks",
    }
    code, told = play(peers, "drain", **drain)
    assert code != 0
    assert "1 of n1's containers stayed" in told
    assert re.search(rf"{NS}/stays: .*/srv/here", told)
    assert pid(peers, "n2", "moves", NS) != 0
    assert "always" in peers.run("n2", f"tricorn -n {NS} inspect moves")
    assert peers.attempt("n1", f"tricorn -n {NS} inspect moves").returncode == 4
    eventually(lambda: pid(peers, "n1", "stays", NS) != 0, "it was not started where it was")
    assert peers.attempt("n2", f"tricorn -n {NS} inspect stays").returncode == 4

    refused = peers.attempt("n1", f"tricorn -n {NS} run --rm {polite_image} true")
    assert refused.returncode == 125
    assert "this node is cordoned (new disks)" in refused.stderr
    assert peers.module("nodes", "node_info")["n1"]["node"]["cordon"]["reason"] == "new disks"
    code, told = play(peers, "drain", drain_hosts="n1", drain_state="active")
    assert (code, changes(told.replace("n1 :", "\nn1 :"), "n1")) == (0, 2)
    peers.run("n1", f"tricorn -n {NS} run --rm {polite_image} true")


def test_peers_leave(peers: Lab) -> None:
    before = pid(peers, "n1", "lab")
    assert peers.run("n1", "tricorn info --json | grep -c bytes_served") != "0"
    output = peers.play("peers", limit="n1", peers_state="absent")
    assert changes(output, "n1") == 2  # the files, a restart
    assert (
        peers.run("n1", "ls -d /etc/tricorn/peers /etc/tricorn/conf.d/peers.toml 2>/dev/null || true") == ""
    )
    eventually(lambda: peers.attempt("n1", "tricorn info").returncode == 0)
    assert not json.loads(peers.run("n1", "tricorn info --json")).get("peers")
    assert peers.attempt("n1", "ss -Hltn sport = :5443").stdout.strip() == ""
    assert pid(peers, "n1", "lab") == before != 0
    assert changes(peers.play("peers", limit="n1", peers_state="absent"), "n1") == 0
