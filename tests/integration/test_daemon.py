"""The agent as its clients see it: pull, run, look, stop, remove, against real components."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn_testing.daemon import ApiError, Daemon, segment
from tricorn_testing.images import ImageLayout, LayerBuilder
from tricorn_testing.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.integration]
CONTAINERS = "/v1/default/containers"


@pytest.fixture(scope="module")
def pulled(agent: Daemon, two_platforms: str) -> str:
    agent.put("/v1/default/images", {"reference": two_platforms, "plain_http": True})
    return two_platforms


@pytest.fixture
def name(agent: Daemon, request: pytest.FixtureRequest) -> Iterator[str]:
    """A container's name; the container is removed afterwards."""
    chosen = request.node.name.split("[")[0].removeprefix("test_").replace("_", "-").strip("-")[:60]
    yield chosen
    try:
        agent.delete(f"{CONTAINERS}/{chosen}", force=True)
    except ApiError as error:
        assert error.status == 404  # noqa: PT017 - in a fixture's end


# ---------------------------------------------------------------- images
def test_a_pull_brings_everything_once(agent: Daemon, two_platforms: str) -> None:
    first = agent.put(
        "/v1/default/images", {"reference": two_platforms, "plain_http": True, "pull": "always"}
    )
    again = agent.put(
        "/v1/default/images", {"reference": two_platforms, "plain_http": True, "pull": "always"}
    )
    assert again["changed"] is False
    assert again["after"]["digest"] == first["after"]["digest"]
    view = agent.get(f"/v1/default/images/{segment(two_platforms)}")
    assert view["unpacked"] is True
    assert view["platform"] == "linux/amd64"
    assert len(view["layers"]) == 2
    assert [item["name"] for item in agent.get("/v1/default/images")["items"]] == [two_platforms]


def test_plan_and_progress(agent: Daemon, two_platforms: str) -> None:
    body = {"reference": two_platforms, "plain_http": True}
    planned = agent.put("/v1/planned/images", body, plan="true")
    assert planned["changed"] is True
    assert planned["actions"][0]["verb"] == "pull"
    assert agent.get("/v1/planned/images")["items"] == []
    lines = agent.lines("PUT", "/v1/planned/images", body)
    assert lines[-1]["result"]["changed"] is True
    assert any("progress" in line for line in lines[:-1])
    assert agent.put("/v1/planned/images", body, plan="true")["changed"] is False


def test_blobs_are_shared_between_namespaces(agent: Daemon, pulled: str) -> None:
    agent.put("/v1/second/images", {"reference": pulled, "plain_http": True})
    here = {item["digest"] for item in agent.get("/v1/default/content")["items"]}
    there = {item["digest"] for item in agent.get("/v1/second/content")["items"]}
    assert there <= here
    files = [path.name for path in (agent.root / "content/blobs/sha256").iterdir()]
    assert len(files) == len(here)


def test_a_missing_image_is_a_clear_error(agent: Daemon, registry: Registry) -> None:
    with pytest.raises(ApiError) as caught:
        agent.put("/v1/default/images", {"reference": f"{registry.address}/no/such:1", "plain_http": True})
    assert caught.value.status == 404
    assert "no/such" in caught.value.problem["detail"]


# ---------------------------------------------------------------- containers
def test_run_wait_logs_delete(agent: Daemon, pulled: str, name: str) -> None:
    change = agent.put(f"{CONTAINERS}/{name}", {"image": pulled})
    assert [action["verb"] for action in change["actions"]] == ["create", "start"]
    assert agent.get(f"{CONTAINERS}/{name}/wait")["exit_code"] == 0
    assert [line["text"] for line in agent.lines("GET", f"{CONTAINERS}/{name}/logs")] == ["default command"]
    assert agent.delete(f"{CONTAINERS}/{name}")["changed"] is True
    with pytest.raises(ApiError):
        agent.get(f"{CONTAINERS}/{name}")


def run(agent: Daemon, name: str, image: str, script: str, **more: object) -> dict[str, object]:
    body = {"image": image, "args": ["sh", "-c", script], **more}
    agent.put(f"{CONTAINERS}/{name}", body)
    result = agent.get(f"{CONTAINERS}/{name}/wait")
    lines = agent.lines("GET", f"{CONTAINERS}/{name}/logs")
    return {"code": result["exit_code"], "lines": [line["text"] for line in lines]}


def test_the_layers_make_one_tree(agent: Daemon, pulled: str, name: str) -> None:
    result = run(agent, name, pulled, "cat /etc/motd; test -e /etc/os-release; echo $?")
    assert result["lines"] == ["welcome", "1"]


def test_options_reach_the_process(agent: Daemon, pulled: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mounted\n")
    tmp_path.chmod(0o755)
    script = "id; hostname; pwd; echo $FROM_IMAGE $OURS; cat /data/file; touch /x 2>/dev/null || echo ro; ulimit -n"
    result = run(
        agent, name, pulled, script, user="web", hostname="inside", cwd="/srv", env={"OURS": "too"},
        read_only=True, mounts=[{"target": "/data", "source": str(tmp_path), "options": ["ro"]}],
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 77}],
    )  # fmt: skip
    assert result["code"] == 0
    assert result["lines"] == [
        "uid=1000(web) gid=1000(web) groups=1000(web),1001(extra)", "inside", "/srv", "yes too", "mounted", "ro", "77",
    ]  # fmt: skip


def test_the_defaults_are_tight(agent: Daemon, pulled: str, name: str) -> None:
    script = "grep -E 'CapInh|CapEff|Seccomp:|NoNewPrivs' /proc/self/status; ls /proc/self/fd | wc -l; ip -o link | wc -l; ip -o addr show lo | grep -c 127.0.0.1; wc -c < /proc/timer_list"
    lines = run(agent, name, pulled, script)["lines"]
    assert lines[0].split()[1] == "0000000000000000"
    assert lines[1].split()[1] == "00000000a80425fb"
    assert lines[2].split()[1] == "1"
    assert lines[3].split()[1] == "2"
    assert int(lines[4]) <= 4
    assert lines[5:] == ["1", "1", "0"]


def test_image_labels_of_reserved_names_stay_outside(agent: Daemon, pulled: str, name: str) -> None:
    agent.put(f"{CONTAINERS}/{name}", {"image": pulled, "state": "present", "labels": {"mine": "1"}})
    labels = agent.get(f"{CONTAINERS}/{name}")["labels"]
    assert labels["mine"] == "1"
    assert "containerd.io/restart.loguri" not in labels


def test_idempotency_of_the_desired_state(agent: Daemon, pulled: str, name: str) -> None:
    path = f"{CONTAINERS}/{name}"
    body = {"image": pulled, "args": ["sleep", "60"], "labels": {"a": "1"}, "stop_timeout": 0.2}
    assert agent.put(path, body, plan="true")["changed"] is True
    assert agent.put(path, body)["changed"] is True
    pid = agent.get(path)["task"]["pid"]
    assert agent.put(path, body)["changed"] is False
    assert [a["verb"] for a in agent.put(path, {**body, "labels": {}})["actions"]] == ["update"]
    assert agent.get(path)["task"]["pid"] == pid
    changed = agent.put(path, {**body, "env": {"A": "1"}})
    assert [action["verb"] for action in changed["actions"]] == ["recreate", "start"]
    assert changed["before"].get("env", {}) != changed["after"]["env"]
    assert agent.get(path)["task"]["pid"] != pid
    stopped = {**body, "env": {"A": "1"}, "state": "stopped"}
    assert [a["verb"] for a in agent.put(path, stopped)["actions"]] == ["stop"]
    assert agent.put(path, stopped)["changed"] is False
    assert [a["verb"] for a in agent.put(path, {**stopped, "state": "absent"})["actions"]] == ["remove"]
    assert agent.put(path, {**stopped, "state": "absent"})["changed"] is False


def test_stop_start_kill_exec_pause(agent: Daemon, pulled: str, name: str) -> None:
    path = f"{CONTAINERS}/{name}"
    script = "trap 'echo asked; exit 7' TERM; echo up; while :; do sleep 0.05; done"
    agent.put(path, {"image": pulled, "args": ["sh", "-c", script]})
    result = agent.post(
        f"{path}/exec", {"args": ["sh", "-c", "echo out; echo err >&2; cat; exit 9"], "stdin": "in"}
    )
    assert (result["exit_code"], result["stdout"], result["stderr"]) == (9, "out\nin", "err\n")
    whoami = agent.post(
        f"{path}/exec",
        {"args": ["sh", "-c", "id -u; pwd; echo $A"], "user": "web", "cwd": "/tmp", "env": {"A": "b"}},
    )
    assert whoami["stdout"] == "1000\n/tmp\nb\n"
    timed = agent.post(f"{path}/exec", {"args": ["sleep", "30"], "timeout": 0.3})
    assert timed["timed_out"] is True
    assert agent.post(f"{path}/pause")["task"]["status"] == "paused"
    assert agent.post(f"{path}/resume")["task"]["status"] == "running"
    assert len(agent.get(f"{path}/pids")["pids"]) >= 1
    assert agent.get(f"{path}/stats")["memory_bytes"] > 0
    stopped = agent.post(f"{path}/stop", {"timeout": 5})
    assert stopped["task"]["exit_code"] == 7
    assert agent.post(f"{path}/start")["task"]["status"] == "running"
    with pytest.raises(ApiError) as caught:
        agent.delete(path)
    assert caught.value.status == 412
    agent.post(f"{path}/kill", {"signal": "KILL", "all": True})
    assert agent.get(f"{path}/wait")["exit_code"] == 137
    with pytest.raises(ApiError) as caught:
        agent.post(f"{path}/exec", {"args": ["true"]})
    assert "not running" in caught.value.problem["detail"]


def test_the_native_snapshotter_and_runc_run_the_same_image(agent: Daemon, pulled: str, name: str) -> None:
    result = run(
        agent,
        name,
        pulled,
        "cat /etc/motd; test -e /etc/os-release; echo $?",
        snapshotter="native",
        runtime="runc",
    )
    assert result == {"code": 0, "lines": ["welcome", "1"]}
    assert agent.get(f"{CONTAINERS}/{name}")["runtime"] == "runc"


def test_host_network(agent: Daemon, pulled: str, name: str) -> None:
    result = run(agent, name, pulled, "readlink /proc/self/ns/net", network="host")
    assert result["lines"] == [os.readlink("/proc/self/ns/net")]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"args": ["/no/such"]}, "no/such"),
        ({"user": "4294967296"}, "4294967296"),
        ({"user": "nobody-here"}, "nobody-here"),
        ({"cwd": "/proc/self/fd/7"}, "cwd"),
        ({"runtime": "gvisor"}, "gvisor"),
        ({"snapshotter": "zfs"}, "zfs"),
        ({"sysctls": {"kernel.core_pattern": "x"}}, "kernel.core_pattern"),
        ({"mounts": [{"target": "/data", "source": "/no/such/source"}]}, "/no/such/source"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_container_that_cannot_be_leaves_nothing(
    agent: Daemon, pulled: str, body: dict[str, object], words: str
) -> None:
    before = len(agent.get("/v1/default/snapshots")["items"])
    with pytest.raises(ApiError) as caught:
        agent.put(f"{CONTAINERS}/impossible", {"image": pulled, **body})
    assert words in str(caught.value.problem)
    assert 400 <= caught.value.status < 600
    assert "Traceback" not in agent.log
    assert agent.get(CONTAINERS)["items"] == [] or all(
        c["id"] != "impossible" for c in agent.get(CONTAINERS)["items"]
    )
    assert len(agent.get("/v1/default/snapshots")["items"]) == before
    assert not (agent.state / "bundles/default/impossible").exists()


# ---------------------------------------------------------------- records
def test_events_have_a_cursor(agent: Daemon, pulled: str, name: str) -> None:
    cursor = agent.get("/v1/default/events")["cursor"]
    run(agent, name, pulled, "exit 4")
    agent.delete(f"{CONTAINERS}/{name}")
    page = agent.get("/v1/default/events", since=cursor)
    topics = [event["topic"] for event in page["items"]]
    order = [
        "/containers/create",
        "/tasks/create",
        "/tasks/start",
        "/tasks/exit",
        "/tasks/delete",
        "/containers/delete",
    ]
    assert [topic for topic in topics if topic in order] == order
    exits = [event["event"] for event in page["items"] if event["topic"] == "/tasks/exit"]
    assert exits[0]["exit_status"] == 4


def test_collection_explains_and_removes(agent: Daemon, registry: Registry, tmp_path: Path) -> None:
    layout = ImageLayout(tmp_path / "gc")
    digest = layout.tag("gc", layout.add_image([LayerBuilder().file("only", "here").layer()]))
    reference = registry.push(layout, "gc", "daemon/gc:1")
    agent.put("/v1/collected/images", {"reference": reference, "plain_http": True})
    kept = agent.get("/v1/collected/gc/explain", object=f"content/{digest}")
    assert kept["kept"] is True
    assert any(reference in step for step in kept["chain"])
    agent.delete(f"/v1/collected/images/{segment(reference)}", sync="true")
    assert agent.get("/v1/collected/content")["items"] == []
    assert agent.get("/v1/collected/snapshots")["items"] == []
    with pytest.raises(ApiError):
        agent.get(f"/v1/collected/content/{digest}")
    assert agent.delete("/v1/namespaces/collected")["changed"] is True


def test_info_and_metrics(agent: Daemon, pulled: str) -> None:
    info = agent.get("/v1/info")
    usable = {item["name"] for item in info["runtimes"] if item["usable"]}
    assert {"crun", "runc"} <= usable
    assert next(item for item in info["snapshotters"] if item["default"])["name"] == "overlayfs"
    _, _, text = agent.exchange("GET", "/metrics")
    assert b"tricorn_" in text


# ---------------------------------------------------------------- the process
def test_a_second_agent_on_the_same_root_is_refused(agent: Daemon) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "tricorn", "--root", str(agent.root), "--state", f"{agent.state}2"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert second.returncode == 8
    assert str(agent.pid) in second.stderr
    assert "Traceback" not in second.stderr
    Path(f"{agent.state}2/bundles").rmdir()
    Path(f"{agent.state}2").rmdir()


def test_a_second_pull_asks_the_registry_once(agent: Daemon, pulled: str) -> None:
    body = {"reference": pulled, "plain_http": True, "pull": "always"}
    before = agent.get("/v1/info")["statistics"]["registry"]
    assert agent.put("/v1/default/images", body)["changed"] is False
    after = agent.get("/v1/info")["statistics"]["registry"]
    grown = {key: after[key] - before[key] for key in after if after[key] != before[key]}
    assert grown.get("requests") == 1, grown
    assert grown.get("bytes_received", 0) == 0, grown
