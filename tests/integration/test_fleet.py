"""A fleet over real ssh: nodes, drift, a node that isn't there, and the playbook's report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.browser import show
from tricorn_testing.labs import PROJECT, Lab

pytestmark = [pytest.mark.root, pytest.mark.integration, pytest.mark.slow]

LOST = 12
DRIFTED = 1


def tricorn(lab: Lab, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `tricorn fleet …` on the lab's inventory."""
    done = subprocess.run(
        [sys.executable, "-m", "tricorn.cli", "--json", "fleet", *words, "-i", str(lab.topology)], cwd=PROJECT,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "ANSIBLE_HOME": str(lab.directory / "ansible"),
        },
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done


def look(lab: Lab, *words: str, status: int = 0) -> Any:
    return json.loads(tricorn(lab, *words, status=status).stdout)


@pytest.fixture(scope="module")
def desired(fleet: Lab, polite_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A container that only n1 has yet."""
    container = {"image": polite_image, "args": ["sleep", "1000"], "stop_timeout": 0}
    namespace = {
        "images": [{"reference": polite_image}],
        "containers": {"seen": container},
    }
    path = tmp_path_factory.mktemp("desired") / "desired.json"
    path.write_text(json.dumps({"namespaces": {"observed": namespace}}))
    fleet.run("n1", f"echo '{path.read_text()}' | tricorn apply -")
    yield path
    fleet.run("n1", "tricorn -n observed rm -f seen")


def test_all_nodes_are_asked_over_ssh(fleet: Lab) -> None:
    seen = look(fleet, "nodes")
    for node, name in zip(seen, fleet.nodes, strict=True):
        assert (node["name"], node["error"], node["groups"]) == (name, "", ["nodes"])
        assert node["agent_memory"] > 10_000_000
        (lab,) = [each for each in node["containers"] if each["name"] == "lab"]
        assert (lab["namespace"], lab["status"]) == ("default", "running")
        assert lab["memory"] > 0
    assert len({node["version"] for node in seen}) == 1


def test_drift_is_what_an_apply_would_change(fleet: Lab, desired: Path) -> None:
    found = look(fleet, "drift", "--desired", str(desired), status=DRIFTED)
    assert {item["node"] for item in found} == {*fleet.nodes} - {"n1"}
    assert {item["name"] for item in found} >= {"namespace/observed", "seen"}
    assert look(fleet, "drift", "--desired", str(desired), "--limit", "n1") == []


def test_a_node_that_does_not_answer_keeps_nobody_waiting(fleet: Lab, tmp_path: Path) -> None:
    extra = tmp_path / "more.ini"
    extra.write_text(f"[nodes]\nn9 ansible_host={fleet.registry.partition(':')[0]} ansible_port=1\n")
    done = tricorn(fleet, "containers", "-i", str(extra), status=LOST)
    assert {item["node"] for item in json.loads(done.stdout)} == {*fleet.nodes}
    (told,) = done.stderr.splitlines()
    assert told.startswith("tricorn: n9: it can't be reached: ssh: connect to host")


@pytest.fixture(scope="module")
def report(fleet: Lab, desired: Path) -> Path:
    """The page that the playbook makes of the fleet."""
    page = desired.with_name("fleet.html")
    output = fleet.play(
        "report", report_file=str(page), report_title="The <lab>", report_desired=str(desired)
    )
    assert " changed=1 " in output, output
    return page


def test_the_playbook_writes_the_page(report: Path) -> None:
    text = report.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert "<h1>The &lt;lab&gt;</h1>" in text
    for part in ("observed/seen: running", "containers of n2 run", "no such container"):
        assert part in text


def test_a_browser_draws_the_fleets_page(fleet: Lab, chromium: str, report: Path, tmp_path: Path) -> None:
    shown = show(chromium, report, tmp_path / "profile")
    assert shown.console == ()
    assert shown.dom.count('<li class="card') == len(fleet.nodes)
