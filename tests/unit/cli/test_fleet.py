"""`tricorn fleet` over an inventory whose nodes are this machine, a scripted agent behind each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tricorn.cli import fleet_tables
from tricorn.cli.fleet_loop import look_and
from tricorn.errors import PermissionDenied
from tricorn.fleet import inventory as reading
from tricorn.fleet.looking import Wanted
from tricorn.fleet.views import FleetView

ONE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64
INVENTORY = """\
[nodes]
n1 ansible_connection=local
n2 ansible_connection=local agent_socket="{{{{ base }}}}/away.sock"
[nodes:vars]
base={base}
ansible_python_interpreter=/usr/bin/python3
[registries]
registry ansible_host=203.0.113.9
"""

Run = Callable[..., Any]


@pytest.fixture
def inventory(tmp_path: Path) -> str:
    """Two nodes, of which the second has no agent, and a host that is no node."""
    path = tmp_path / "hosts"
    path.write_text(INVENTORY.format(base=tmp_path))
    return str(path)


@pytest.fixture
def n1(monkeypatch: pytest.MonkeyPatch) -> str:
    """The first node alone, without Ansible's being asked for a second each time."""
    host = {
        "name": "n1", "groups": ["nodes"], "connection": "local", "python": "/usr/bin/python3", "socket": "",
        "become": {},
    }  # fmt: skip
    monkeypatch.setattr(reading, "_asked", lambda _question, _patience: {"hosts": [host]})
    return "n1"


@pytest.fixture
def node(agent: Any) -> Any:
    """The first node's agent, with a container and an image."""
    agent.answer("GET /v1/version", {"version": "0.1.0", "api": "1", "python": "3.11.2"})
    agent.answer("GET /v1/info", {"kernel": "6.1", "platform": "linux/amd64", "uptime_seconds": 90061})
    agent.listed("GET /v1/namespaces", {"name": "shop"})
    container = {
        "id": "web", "namespace": "shop", "image": "r.lan/web:1", "image_digest": ONE, "desired": {},
        "task": {"status": "running", "started_at": "2026-11-22T17:30:40Z"},
    }  # fmt: skip
    agent.listed("GET /v1/shop/containers?all=true", container)
    agent.listed("GET /v1/shop/images", {"name": "r.lan/web:1", "digest": ONE, "size": 1048576})
    agent.listed("GET /v1/stats", {"namespace": "shop", "id": "web", "figures": {"memory_bytes": 2097152.0}})
    agent.listed("GET /v1/shop/operations")
    agent.raw("GET /metrics", b"# HELP x\nprocess_resident_memory_bytes 6.291456e+07\n")
    return agent


def test_nodes_that_are_reached_and_one_that_is_not(node: Any, tricorn: Run, inventory: str) -> None:
    done = tricorn("fleet", "nodes", "-i", inventory)
    assert done.status == 12
    head, first, second = done.out.splitlines()
    assert head.split() == ["NODE", "ADDRESS", "AGENT", "RUNNING", "IMAGES", "MEMORY", "UP", "STATE"]
    assert first.split() == ["n1", "-", "0.1.0", "1/1", "1", "62.0", "MiB", "1d1h", "ok"]
    assert second.split() == ["n2", *"------", "not", "reached"]
    (told,) = done.err.splitlines()
    assert told.startswith("tricorn: n2: cannot reach the agent at ")
    assert "away.sock" in told
    assert node.connections == 1


def test_what_is_known_of_a_node_as_json(node: Any, tricorn: Run, n1: str) -> None:
    done = tricorn("--json", "fleet", "nodes", "-i", n1)
    assert done.status == 0
    (found,) = done.json
    assert (found["name"], found["groups"], found["error"]) == ("n1", ["nodes"], "")
    assert (found["agent_memory"], found["containers"][0]["memory"]) == (62914560.0, 2097152.0)


def test_who_may_not_see_figures_sees_the_rest(node: Any, tricorn: Run, n1: str) -> None:
    for line in ("GET /v1/stats", "GET /metrics"):
        node.refuse(line, PermissionDenied("only admins"))
    (found,) = tricorn("--json", "fleet", "nodes", "-i", n1).json
    assert (found["error"], found["agent_memory"], found["containers"][0]["memory"]) == ("", None, None)


def test_drift_from_a_desired_state_is_planned_by_the_agent(
    node: Any, tricorn: Run, n1: str, tmp_path: Path
) -> None:
    wanted = tmp_path / "shop.json"
    wanted.write_text(json.dumps({"namespaces": {"shop": {"prune": True}}}))
    actions = [{"verb": "remove", "object": "shop/container/web", "reason": "not desired"}]
    node.answer("PUT /v1/apply?plan=true", {"changed": True, "actions": actions})
    words = ("fleet", "drift", "-i", n1, "--desired", str(wanted))
    done = tricorn(*words)
    assert done.status == 1
    assert done.out.splitlines()[1].split() == ["n1", "state", "shop", "web", "remove:", "not", "desired"]
    assert node.body("PUT /v1/apply?plan=true") == {"namespaces": {"shop": {"prune": True}}}

    node.answer("PUT /v1/apply?plan=true", {"changed": False, "actions": []})
    done = tricorn(*words)
    assert (done.status, done.out) == (0, "no drift among 1 node\n")


def test_answers_that_make_no_sense_are_the_nodes_fault(node: Any, tricorn: Run, n1: str) -> None:
    node.answer("GET /v1/namespaces", {"items": [{"no": "name"}]})
    done = tricorn("fleet", "images", "-i", n1)
    assert done.status == 12
    assert "n1: its answers can't be understood: KeyError('name')" in done.err


def test_a_report_is_a_page_or_a_document(node: Any, tricorn: Run, n1: str, tmp_path: Path) -> None:
    assert tricorn("fleet", "report", "-i", n1).status == 2
    page = tmp_path / "fleet.html"
    done = tricorn("--json", "fleet", "report", "-i", n1, "--title", "<b>", "--html", str(page))
    assert (done.status, done.out) == (0, "")
    assert "<title>&lt;b&gt;</title>" in page.read_text()
    assert [path.name for path in tmp_path.glob("fleet*")] == ["fleet.html"]


@pytest.mark.parametrize(
    ("content", "words", "status", "text"),
    [
        ("[nodes]\nn1\n", ("--limit", "other"), 4, "matches other"),
        ("plugin: no.such.one\n", (), 2, "can't be read"),
    ],
    ids=["no-match", "broken"],
)
def test_inventories_without_nodes(
    agent: Any, tricorn: Run, tmp_path: Path, content: str, words: tuple[str, ...], status: int, text: str
) -> None:
    path = tmp_path / "hosts.yml" if "plugin" in content else tmp_path / "hosts"
    path.write_text(content)
    done = tricorn("fleet", "nodes", "-i", str(path), *words)
    assert (done.status, done.out) == (status, "")
    assert text in done.err
    assert agent.lines == []


def test_images_in_two_versions_are_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    from tricorn_testing.sample_fleets import fleet

    fleet_tables.images(fleet(4))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["shop", "registry.lan/shop/web:1.4", "1" * 12, "40.0", "MiB", "all", "3"] in lines


def test_watching_looks_until_it_is_interrupted(agent: Any) -> None:
    seen = []

    def tell(view: FleetView) -> None:
        seen.append(view.nodes)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look_and(tell, [], Wanted(), parallel=1, timeout=1.0, again=0.01)
    assert seen == [(), (), ()]
    assert agent.lines == []
