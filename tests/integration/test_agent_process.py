"""The agent as a process: restarts, reloads, activation by a socket, other configurations, several at a time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tricorn.errors import FailedPrecondition
from tricorn_testing.agentclient import AgentClient
from tricorn_testing.daemon import Daemon, running_daemon, segment
from tricorn_testing.images import ImageLayout, LayerBuilder
from tricorn_testing.paths import found
from tricorn_testing.registry import Registry
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]
CONTAINERS = "/v1/default/containers"


def test_reload_takes_a_good_file_and_refuses_a_bad_one() -> None:
    with running_daemon() as daemon:
        good = daemon.config_file.read_text()
        daemon.config_file.write_text("nonsense = 1\n")
        os.kill(daemon.pid, signal.SIGHUP)
        wait_for_log(daemon, "configuration refused")
        daemon.config_file.write_text('log_level = "debug"\n' + good)
        os.kill(daemon.pid, signal.SIGHUP)
        wait_for_log(daemon, "configuration reloaded")
        assert daemon.is_ready()
        assert daemon.terminate() == 0


def wait_for_log(daemon: Daemon, words: str) -> None:
    deadline = time.monotonic() + 60
    while words not in daemon.log:
        assert time.monotonic() < deadline, daemon.log
        time.sleep(0.02)


def test_containers_outlive_a_restart(registry: Registry, two_platforms: str) -> None:
    with running_daemon() as daemon:
        daemon.put("/v1/default/images", {"reference": two_platforms, "plain_http": True})
        daemon.put(f"{CONTAINERS}/long", {"image": two_platforms, "args": ["sleep", "60"]})
        pid = daemon.get(f"{CONTAINERS}/long")["task"]["pid"]
        daemon.restart()
        task = daemon.get(f"{CONTAINERS}/long")["task"]
        assert (task["status"], task["pid"]) == ("running", pid)
        assert daemon.post(f"{CONTAINERS}/long/exec", {"args": ["echo", "hi"]})["stdout"] == "hi\n"
        daemon.delete(f"{CONTAINERS}/long", force=True)


def test_an_agent_whose_database_is_lost_removes_nothing(registry: Registry, two_platforms: str) -> None:
    with running_daemon() as daemon:
        daemon.put("/v1/default/images", {"reference": two_platforms, "plain_http": True})
        assert daemon.terminate() == 0
        database = daemon.root / "db/tricorn.db"
        kept = database.read_bytes()
        database.write_bytes(b"")
        blobs = sorted((daemon.root / "content/blobs/sha256").iterdir())
        command = [sys.executable, "-m", "tricorn", "--root", str(daemon.root), "--state", str(daemon.state)]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert ended.returncode == FailedPrecondition.exit_status
        assert "tricorn.db is empty" in ended.stderr
        assert "state forget" in ended.stderr
        assert sorted((daemon.root / "content/blobs/sha256").iterdir()) == blobs
        database.write_bytes(kept)
        daemon.start()
        assert len(daemon.get("/v1/default/images")["items"]) == 1


def test_pulls_at_the_same_time_do_the_work_once(registry: Registry, two_platforms: str) -> None:
    with running_daemon() as daemon, ThreadPoolExecutor(4) as pool:
        body = {"reference": two_platforms, "plain_http": True}
        done = list(pool.map(lambda _: daemon.put("/v1/default/images", body), range(4)))
        assert len({change["after"]["digest"] for change in done}) == 1
        blobs = list((daemon.root / "content/blobs/sha256").iterdir())
        assert len(blobs) == len(daemon.get("/v1/default/content")["items"])
        assert len(list(daemon.root.glob("snapshots/overlayfs/snapshots/*"))) == 2


def test_a_cancelled_pull_leaves_nothing_and_can_be_repeated(registry: Registry, tmp_path: Path) -> None:
    layout = ImageLayout(tmp_path / "big")
    layers = [LayerBuilder().file(f"f{n}", os.urandom(24 * 1024 * 1024)).layer("") for n in range(3)]
    layout.tag("big", layout.add_image(layers))
    reference = registry.push(layout, "big", "daemon/big:1")
    body = {"reference": reference, "plain_http": True}
    with running_daemon() as daemon:
        status, headers, _ = daemon.exchange("PUT", "/v1/default/images", body, {"Prefer": "respond-async"})
        assert status == 202
        daemon.delete(headers["location"])
        operation = daemon.get(headers["location"])
        assert operation["state"] in {"cancelled", "running", "done"}
        eventually(lambda: daemon.get(headers["location"])["state"] != "running")
        if daemon.get(headers["location"])["state"] == "cancelled":
            assert daemon.get("/v1/default/images")["items"] == []
            assert list(daemon.root.glob("snapshots/overlayfs/snapshots/*")) == []
        assert daemon.put("/v1/default/images", body)["after"]["unpacked"] is True


def test_socket_activation_and_readiness(short_path: Path) -> None:
    """Start the agent as systemd does: an open socket as descriptor 3, a socket to report to."""
    inherited, manager = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    address = short_path / "activated.sock"
    inherited.bind(str(address))
    inherited.listen()
    manager.bind(str(short_path / "notify"))
    manager.settimeout(60)
    start = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
        "os.execv(sys.executable, [sys.executable, '-m', 'tricorn', *sys.argv[2:]])"
    )
    paths = ["--root", str(short_path / "root"), "--state", str(short_path / "state")]
    environment = {**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(short_path / "notify")}
    process = subprocess.Popen(
        [sys.executable, "-c", start, str(inherited.fileno()), *paths],
        env=environment, pass_fds=[inherited.fileno()], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        states = []
        while not any("READY=1" in state for state in states):
            states.append(manager.recv(1000).decode())
        assert AgentClient(str(address)).get("/healthz")["status"] == "ok"
        assert not (short_path / "state/tricorn.sock").exists()
        process.terminate()
        assert process.wait(60) == 0
        while not any("STOPPING=1" in state for state in states):
            states.append(manager.recv(1000).decode())
        assert address.exists(), "an inherited socket isn't ours to remove"
    finally:
        process.kill()
        process.wait()
        inherited.close()
        manager.close()


def test_an_image_can_be_flushed_before_it_is_recorded(two_platforms: str) -> None:
    with running_daemon("[snapshots]\nsync = true\ndefault = 'native'\n") as daemon:
        change = daemon.put("/v1/default/images", {"reference": two_platforms, "plain_http": True})
        assert change["after"]["unpacked"] is True


def test_two_agents_of_one_host_keep_apart(two_platforms: str) -> None:
    """Each with a parent cgroup of its own: the same name in both is two containers."""
    body = {"image": two_platforms, "args": ["sleep", "60"], "plain_http": True}
    config = 'cgroup = "/tricorn-{}"\n'
    with running_daemon(config.format("a")) as first, running_daemon(config.format("b")) as second:
        for daemon in (first, second):
            daemon.put(f"{CONTAINERS}/same", body)
        assert second.get(f"{CONTAINERS}/same/pids")["pids"] != first.get(f"{CONTAINERS}/same/pids")["pids"]
        first.delete(f"{CONTAINERS}/same", force=True)
        assert second.get(f"{CONTAINERS}/same")["task"]["status"] == "running"
        second.delete(f"{CONTAINERS}/same", force=True)
        assert (first.terminate(), second.terminate()) == (0, 0)
    eventually(lambda: not found(Path("/sys/fs/cgroup"), "*/tricorn-[ab]"))


def test_collection_can_be_left_to_the_command(two_platforms: str) -> None:
    with running_daemon("[gc]\nschedule = false\n") as daemon:
        daemon.put("/v1/default/images", {"reference": two_platforms, "plain_http": True})
        daemon.delete(f"/v1/default/images/{segment(two_platforms)}")
        time.sleep(2)  # the scheduler would have had its second by now
        assert daemon.get("/v1/default/content")["items"]
        assert daemon.post("/v1/gc")["removed"]
        assert daemon.get("/v1/default/content")["items"] == []
