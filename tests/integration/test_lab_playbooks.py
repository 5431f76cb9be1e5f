"""The playbooks for fleets, as docs/tutorial.md has them: its commands are run against the tests' own lab."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn_testing.labs import PROJECT, Lab, changes
from tricorn_testing.tutorials import commands

pytestmark = [pytest.mark.root, pytest.mark.integration, pytest.mark.slow]


class Tutorial:
    """Runs the page's commands in their order, with the places and addresses of a lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        places = {
            "inventory/lab.yml": str(lab.topology),
            ".lab/lab/": f"{lab.state}/",
            ".lab/": f"{lab.directory}/",
            "10.89.77.": lab.subnet.removesuffix("0/24"),
        }
        every = re.compile("|".join(re.escape(place) for place in places))
        self.left = [
            every.sub(lambda found: places[found[0]], each) for each in commands(PROJECT / "docs/tutorial.md")
        ]

    def run(self, part: str) -> str:
        """Run the next command, which has `part` in it; return what it prints. AssertionError if it fails."""
        command = self.left.pop(0)
        assert part in command
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"], cwd=PROJECT,
            env={
                **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_HOME": str(self.lab.directory / "ansible"),
            },
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        print(f"# {command}\n{done.stdout}{done.stderr}")
        assert done.returncode == 0, done.stdout + done.stderr + self.lab.journals()
        return done.stdout

    def skip(self, *parts: str) -> None:
        """Leave out commands whose work is done: the lab is up, with agents."""
        for part in parts:
            assert part in self.left.pop(0)


@pytest.fixture(scope="module")
def tutorial(fleet: Lab) -> Iterator[Tutorial]:
    try:
        yield Tutorial(fleet)
    finally:
        for node in fleet.nodes:
            fleet.attempt(
                node,
                "tricorn node uncordon; tricorn rm -f web; tricorn rm -f worker; tricorn rm -f worker-again; tricorn start lab;"
                "tricorn namespace label default tricorn.io/drained=;"
                "rm -rf /etc/tricorn/conf.d/peers.toml /etc/tricorn/peers; systemctl restart tricornd",
            )


def test_the_tutorial_does_what_it_says(tutorial: Tutorial) -> None:
    lab = tutorial.lab
    tutorial.skip("make lab", "export PATH")
    tutorial.run("fleet.yml")
    tutorial.skip("tricorn.containerd.lab")
    tutorial.run("tricorn.containerd.peers")
    tutorial.run("tutorial_images.py")

    tutorial.run("application.yml")
    output = tutorial.run("version=1")
    assert [changes(output, node) for node in lab.nodes] == [1] * len(lab.nodes)

    assert "brought" in tutorial.run("prepull")
    served = [line.split()[0] for line in tutorial.run("journalctl").splitlines()]
    assert len(served) >= 4
    assert set(served) == {"1"}, "the registry served a blob to more than one node"
    tutorial.run("bytes_served")

    assert changes(tutorial.run("version=2"), "n2") == 1
    failed = tutorial.run("version=3")
    assert "exit code 2" in failed
    assert re.search(r"What\s+was\s+there\s+before\s+is\s+back:\s+web", failed)
    assert re.search(r"this\s+is\s+version\s+3", failed)
    assert not re.search(r"^n2 ", failed, re.MULTILINE), "a node was begun after one that failed"
    assert tutorial.run("cat /version") == "2\n"

    tutorial.run("name=worker")
    counted = int(tutorial.run("cat /count"))
    drained = tutorial.run("drain_twins=stop")
    assert re.search(r"default/worker:\s+moved\s+to\s+n2", drained)
    assert "running" not in tutorial.run("tricorn ps")
    assert int(tutorial.run("cat /count")) >= counted
    tutorial.run("drain_state=active")

    tutorial.run("tricorn.containerd.backup")
    (saved,) = (lab.directory / "backups/first").iterdir()
    assert saved.stat().st_mode & 0o777 == 0o600
    assert [each["name"] for each in json.loads(saved.read_text())] == ["worker"]
    tutorial.run("tricorn.containerd.restore")
    assert "worker-again" in tutorial.run("tricorn ps")
    tutorial.skip("make lab-down")
    assert not tutorial.left
