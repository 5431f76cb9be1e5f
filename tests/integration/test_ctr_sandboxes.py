"""`ctr sandboxes …` of containerd 2.1, unmodified; the elder `ctr` has no such command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn_testing.ctr import Ctr
from tricorn_testing.daemon import Daemon

pytestmark = [
    pytest.mark.integration,
    pytest.mark.root,
    pytest.mark.parametrize("ctr", ["2.1"], indirect=True, scope="module"),
]


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "sandbox.json"
    path.write_text(json.dumps({"ociVersion": "1.1.0", "hostname": "pod"}))
    return str(path)


@pytest.fixture
def sandbox(ctr: Ctr, config: str) -> Iterator[str]:
    assert ctr.run("sandboxes", "run", config, "pod").stdout.strip() == "pod"
    yield "pod"
    ctr.run("sandboxes", "rm", "--force", "pod", check=False)


def test_the_life_of_a_sandbox(ctr: Ctr, ctr_agent: Daemon, config: str) -> None:
    assert ctr.run("s", "create", config, "a").stdout.strip() == "a"
    assert [row["ID"] for row in ctr.rows("sandbox", "ls")] == ["a"]
    assert ctr.rows("sandboxes", "list")[0]["RUNTIME"] == "io.containerd.runc.v2"
    again = ctr.run("sandboxes", "run", config, "a", check=False)
    assert again.returncode != 0
    assert "already exists" in again.stderr
    removed = ctr.run("sandboxes", "rm", "a")
    assert "deleted: a" in removed.stderr
    assert ctr.rows("sandboxes", "ls") == []
    assert "failed to load sandbox" in ctr.run("sandboxes", "remove", "a", check=False).stderr
    events = ctr_agent.get(f"/v1/{ctr.namespace}/events")["items"]
    topics = [one["topic"] for one in events if one["topic"].startswith("/sandboxes/")]
    assert topics == ["/sandboxes/create", "/sandboxes/start", "/sandboxes/exit"]


def test_a_container_in_a_sandbox(ctr: Ctr, busybox: str, sandbox: str, container: str) -> None:
    script = "hostname; ip -o addr show lo"
    shown = ctr.run("run", "--rm", "--sandbox", sandbox, busybox, container, "sh", "-c", script).stdout
    assert shown.startswith("pod\n")
    assert "127.0.0.1/8" in shown


def test_removing_a_sandbox_ends_its_containers(ctr: Ctr, busybox: str, sandbox: str, container: str) -> None:
    ctr.run("run", "-d", "--sandbox", sandbox, busybox, container, "sleep", "1000")
    ctr.run("sandboxes", "rm", sandbox)
    assert [row["TASK"] for row in ctr.rows("tasks", "ls")] == []
    refused = ctr.run("tasks", "start", "-d", container, check=False)
    assert "sandbox pod is not running" in refused.stderr


def test_a_config_that_cannot_be_held(ctr: Ctr, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"linux": {"namespaces": [{"type": "magic"}]}}))
    refused = ctr.run("sandboxes", "run", str(path), "b", check=False)
    assert refused.returncode != 0
    assert "'magic' is not known" in refused.stderr
    ctr.run("sandboxes", "rm", "--force", "b", check=False)
