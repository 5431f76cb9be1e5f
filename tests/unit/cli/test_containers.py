"""The commands on containers: what they request, and what they print for people and programs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tricorn.errors import FailedPrecondition, NotFound

Run = Callable[..., Any]
# Shown to the hour: a long session must not reach the next one.
AGO = (datetime.now(UTC) - timedelta(days=2, hours=5, minutes=15)).isoformat()
DIGEST = "sha256:" + "ab" * 32


def container(id: str = "web", **fields: Any) -> dict[str, Any]:
    view = {
        "id": id,
        "namespace": "default",
        "image": "docker.io/library/nginx:latest",
        "image_digest": DIGEST,
        "runtime": "crun",
        "snapshotter": "overlay",
        "labels": {"app": "web"},
        "created_at": AGO,
        "desired": {"args": ["nginx", "-g", "daemon off;"]},
        "task": {"status": "running", "pid": 4711, "started_at": AGO, "exit_code": None},
    }
    return {**view, **fields}


def test_ps(agent: Any, tricorn: Run) -> None:
    stopped = {"status": "stopped", "exit_code": 137, "oom_killed": True, "exited_at": AGO}
    agent.listed(
        "GET /v1/default/containers?all=false",
        container(),
        container("job", task=stopped),
        container("new", task=None),
    )
    outcome = tricorn("ps")
    head, *rows = outcome.out.splitlines()
    assert head.split() == ["ID", "IMAGE", "COMMAND", "STATUS", "PID", "CREATED"]
    assert rows[0].split() == [
        "web",
        "nginx:latest",
        "nginx",
        "-g",
        "daemon",
        "off;",
        "running",
        "2d5h",
        "4711",
        "2d5h",
    ]
    assert "exited (137, out of memory) 2d5h ago" in rows[1]
    assert rows[2].split()[-3:] == ["created", "-", "2d5h"]
    assert len({row.index("2d5h", row.index("off;") + 20) for row in rows if "out of" in row}) == 1


def test_ps_quiet_all_filtered(agent: Any, tricorn: Run) -> None:
    line = "GET /v1/default/containers?all=true&filter=labels.app%3D%3Dweb&filter=id~%3Da"
    agent.listed(line, container(), container("b"))
    assert tricorn("ps", "-aq", "--filter", "labels.app==web", "--filter", "id~=a").out == "web\nb\n"


def test_ps_json_is_one_list(agent: Any, tricorn: Run) -> None:
    agent.listed("GET /v1/default/containers?all=false", container())
    assert tricorn("--json", "ps").json == tricorn("ps", "--json").json == [container()]
    agent.listed("GET /v1/default/containers?all=false")
    assert tricorn("--json", "ps").json == []


def test_container_ls_is_ps(agent: Any, tricorn: Run) -> None:
    agent.listed("GET /v1/default/containers?all=true", container())
    assert tricorn("container", "ls", "-aq").out == tricorn("container", "ps", "-aq").out == "web\n"


def test_a_label_cannot_drive_the_terminal(agent: Any, tricorn: Run) -> None:
    agent.listed("GET /v1/default/containers?all=false", container(labels={"a": "\x1b[2Jgone"}))
    assert "\x1b" not in tricorn("ps", "--no-trunc").out


@pytest.mark.parametrize(
    "where",
    [
        ("-n", "build", "ps", "-q"),
        ("ps", "-q", "-n", "build"),
        ("-n", "other", "ps", "-q", "--namespace", "build"),
    ],
)
def test_the_namespace_counts_wherever_it_stands(agent: Any, tricorn: Run, where: tuple[str, ...]) -> None:
    agent.listed("GET /v1/build/containers?all=false", container())
    assert tricorn(*where).out == "web\n"


def test_the_namespace_of_the_environment(agent: Any, tricorn: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICORN_NAMESPACE", "build")
    agent.listed("GET /v1/build/containers?all=false", container())
    agent.listed("GET /v1/mine/containers?all=false", container("mine"))
    assert tricorn("ps", "-q").out == "web\n"
    assert tricorn("-n", "mine", "ps", "-q").out == "mine\n"


@pytest.mark.parametrize(
    ("arguments", "line", "body"),
    [
        (["start", "web"], "POST /v1/default/containers/web/start", None),
        (["pause", "web"], "POST /v1/default/containers/web/pause", None),
        (["resume", "web"], "POST /v1/default/containers/web/resume", None),
        (["stop", "web"], "POST /v1/default/containers/web/stop", {}),
        (["stop", "-t", "1m30s", "web"], "POST /v1/default/containers/web/stop", {"timeout": 90.0}),
        (["restart", "web"], "POST /v1/default/containers/web/restart", {}),
        (["restart", "-t", "3", "web"], "POST /v1/default/containers/web/restart", {"timeout": 3.0}),
        (["kill", "web"], "POST /v1/default/containers/web/kill", {"signal": "SIGKILL", "all": False}),
        (
            ["kill", "-s", "hup", "--all", "web"],
            "POST /v1/default/containers/web/kill",
            {"signal": "SIGHUP", "all": True},
        ),
        (
            ["kill", "-s", "10", "web"],
            "POST /v1/default/containers/web/kill",
            {"signal": "SIGUSR1", "all": False},
        ),
        (["rm", "web"], "DELETE /v1/default/containers/web", None),
        (
            ["rm", "-f", "-t", "3", "web"],
            "DELETE /v1/default/containers/web?force=true&stop_timeout=3.0",
            None,
        ),
        (["container", "stop", "web"], "POST /v1/default/containers/web/stop", {}),
    ],
)
def test_steering(agent: Any, tricorn: Run, arguments: list[str], line: str, body: Any) -> None:
    agent.answer(line, container())
    outcome = tricorn(*arguments)
    assert (outcome.status, outcome.out, outcome.err) == (0, "web\n", "")
    assert agent.lines == [line]
    assert agent.requests[0].body == body


def test_several_names_go_on_after_an_error(agent: Any, tricorn: Run) -> None:
    agent.answer("DELETE /v1/default/containers/a", {"changed": True})
    agent.refuse(
        "DELETE /v1/default/containers/b", FailedPrecondition("container b is running", hint="use rm -f")
    )
    agent.refuse("DELETE /v1/default/containers/c", NotFound("container c does not exist"))
    agent.answer("DELETE /v1/default/containers/d", {"changed": True})
    outcome = tricorn("rm", "a", "b", "c", "d")
    assert outcome.status == FailedPrecondition.exit_status
    assert outcome.out == "a\nd\n"
    assert (
        outcome.err
        == "tricorn: container b is running (hint: use rm -f)\ntricorn: container c does not exist\n"
    )


@pytest.mark.parametrize(
    ("command", "line"),
    [("stop", "POST /v1/default/containers/{}/stop"), ("rm", "DELETE /v1/default/containers/{}")],
)
def test_what_may_take_long_is_done_side_by_side(agent: Any, tricorn: Run, command: str, line: str) -> None:
    names = [f"c{number}" for number in range(8)]
    for name in reversed(names):
        agent.answer(line.format(name), {"changed": True})
    agent.together = threading.Barrier(len(names))
    outcome = tricorn(command, *names)
    assert (outcome.status, outcome.out, outcome.err) == (0, "".join(f"{name}\n" for name in names), "")


def test_no_more_than_a_few_are_under_way(agent: Any, tricorn: Run) -> None:
    names = [f"c{number}" for number in range(20)]
    for name in names:
        agent.answer(f"POST /v1/default/containers/{name}/stop", {"changed": True})
    assert tricorn("stop", *names).out.split() == names
    assert agent.connections == len(names)


def test_json_of_one_and_of_several(agent: Any, tricorn: Run) -> None:
    for name in "ab":
        agent.answer(f"DELETE /v1/default/containers/{name}", {"changed": True, "name": name})
    assert tricorn("--json", "rm", "a").json == {"changed": True, "name": "a"}
    assert [change["name"] for change in tricorn("--json", "rm", "a", "b").json] == ["a", "b"]


def test_wait_prints_the_codes(agent: Any, tricorn: Run) -> None:
    agent.answer("GET /v1/default/containers/a/wait?condition=stopped", {"exit_code": 3})
    agent.answer("GET /v1/default/containers/b/wait?condition=stopped", {"exit_code": 0})
    outcome = tricorn("wait", "a", "b")
    assert (outcome.status, outcome.out) == (0, "3\n0\n")
    assert tricorn("--json", "wait", "a", "b").json == [
        {"id": "a", "exit_code": 3}, {"id": "b", "exit_code": 0}
    ]  # fmt: skip


def test_inspect_looks_for_containers_then_images(agent: Any, tricorn: Run) -> None:
    agent.answer("GET /v1/default/containers/web", container())
    agent.answer("GET /v1/default/images/docker.io%2Flibrary%2Fnginx%3Alatest", {"name": "nginx"})
    assert tricorn("inspect", "web").json == container()
    outcome = tricorn("inspect", "web", "docker.io/library/nginx:latest", "neither")
    assert outcome.status == NotFound.exit_status
    assert [item.get("id", item.get("name")) for item in outcome.json] == ["web", "nginx"]
    assert outcome.err == "tricorn: no container and no image is called neither\n"


def test_stats(agent: Any, tricorn: Run) -> None:
    agent.listed("GET /v1/default/containers?all=false", container())
    agent.answer(
        "GET /v1/default/containers/web/stats",
        {"memory": {"usage_bytes": 2048, "limit": None}, "pids": 3.0, "cpu_seconds": 0.12345},
    )
    outcome = tricorn("stats")
    assert [line.split() for line in outcome.out.splitlines()] == [
        ["web"],
        ["memory.usage_bytes", "2.0", "KiB"],
        ["pids", "3"],
        ["cpu_seconds", "0.123"],
    ]
    assert tricorn("--json", "stats", "web").json["pids"] == 3
    assert isinstance(tricorn("--json", "stats").json, list)


# ---------------------------------------------------------------- logs
LINES = (
    {"timestamp": "2026-01-31T12:00:00.000000001Z", "stream": "stdout", "text": "one"},
    {"timestamp": "2026-01-31T12:00:01.000000000Z", "stream": "stderr", "text": "two\n"},
)


def test_logs_keep_the_streams_apart(agent: Any, tricorn: Run) -> None:
    agent.stream("GET /v1/default/containers/web/logs", *LINES)
    outcome = tricorn("logs", "web")
    assert (outcome.out, outcome.err) == ("one\n", "two\n")
    assert tricorn("logs", "-t", "web").out == "2026-01-31T12:00:00.000000001Z one\n"
    assert agent.requests[0].headers["accept"] == "application/x-ndjson"


def test_logs_json(agent: Any, tricorn: Run) -> None:
    agent.stream("GET /v1/default/containers/web/logs", *LINES)
    agent.stream("GET /v1/default/containers/web/logs?follow=true", *LINES)
    assert tricorn("--json", "logs", "web").json == list(LINES)
    assert len(tricorn("--json", "logs", "-f", "web").out.splitlines()) == 2


def test_logs_options(agent: Any, tricorn: Run) -> None:
    line = "GET /v1/default/containers/web/logs?follow=true&tail=5&since=2026-01-31T12%3A00%3A00%2B00%3A00"
    agent.stream(line)
    assert tricorn("logs", "-f", "--tail", "5", "--since", "2026-01-31T12:00:00Z", "web").status == 0
    assert agent.lines == [line]
    assert tricorn("logs", "--tail", "few", "web").status == 2


def test_an_error_in_the_middle_of_a_stream(agent: Any, tricorn: Run) -> None:
    agent.stream(
        "GET /v1/default/containers/web/logs", LINES[0], {"error": NotFound("the log is gone").problem()}
    )
    outcome = tricorn("logs", "web")
    assert (outcome.status, outcome.out) == (NotFound.exit_status, "one\n")
