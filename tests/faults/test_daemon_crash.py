"""SIGKILL to the agent at every named step of pull, create, start, exit and delete.

After the next start nothing may be left half-made: no bundle, mount, snapshot directory, process or intent
that no record explains; and the same work, asked again, succeeds.
"""

from __future__ import annotations

import http.client
import re
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tricorn_testing.daemon import ApiError, Daemon, running_daemon
from tricorn_testing.paths import found
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.faults]
SERVICE = Path(__file__).parents[2] / "agent/tricorn"
STEPS = sorted(
    {
        name
        for layer in ("service", "store", "runtime")
        for file in (SERVICE / layer).rglob("*.py")
        for name in re.findall(r'failpoint\("([a-z.-]+)"\)', file.read_text())
    }
    | {f"{kind}.intent" for kind in ("create", "start")}
)
LOST = (OSError, http.client.HTTPException)


def work(daemon: Daemon, image: str) -> None:
    """Everything that has a step: pull, create and start, an exit, a second start, delete, collect."""
    daemon.put("/v1/default/images", {"reference": image, "plain_http": True})
    desired = {"image": image, "args": ["sh", "-c", "echo hello; exit 3"]}
    daemon.put("/v1/default/containers/c1", desired)
    assert daemon.get("/v1/default/containers/c1/wait")["exit_code"] == 3
    daemon.post("/v1/default/containers/c1/start")
    assert daemon.get("/v1/default/containers/c1/wait")["exit_code"] == 3
    daemon.delete("/v1/default/containers/c1", force=True)


def wait_tidy(daemon: Daemon) -> None:
    """Wait until what deleted containers left is cleared away: that follows the answer."""
    deadline = time.monotonic() + 30
    while daemon.get("/v1/info")["statistics"]["supervisor"]["tidying"]:
        assert time.monotonic() < deadline, "what was deleted is never cleared away"
        time.sleep(0.02)


def check_nothing_unexplained(daemon: Daemon) -> None:
    """Compare what is on the node with what the records say."""
    wait_tidy(daemon)
    containers = {item["id"]: item for item in daemon.get("/v1/default/containers")["items"]}
    bundles = {path.name for path in found(daemon.state, "bundles/*/*")}
    logs = {path.name for path in found(daemon.root, "containers/*/*")}
    assert bundles | logs <= set(containers), "a bundle or log without its container"
    snapshots = daemon.get("/v1/default/snapshots")["items"]
    with sqlite3.connect(f"file:{daemon.root}/db/tricorn.db?mode=ro", uri=True) as database:
        assert database.execute("SELECT kind, object FROM intents").fetchall() == []
        recorded = {row[0] for row in database.execute("SELECT backend_id FROM snapshots")}
    database.close()
    on_disk = {path.name for path in daemon.root.glob("snapshots/overlayfs/snapshots/*")}
    assert on_disk == recorded, "snapshot directories and records differ"
    assert len(snapshots) == len(recorded)
    mounts = Path("/proc/self/mountinfo").read_text()
    mounted = set(re.findall(rf"{daemon.state}/bundles/default/([^/ ]+)/rootfs", mounts))
    assert mounted <= set(containers), "a root file system is mounted for nobody"
    for name, item in containers.items():
        assert item["task"] is None or item["task"]["status"] in {"created", "running", "stopped"}, name


# Every commit of the database is a step of its own, wherever it happens
COMMITS = [f"db.committed={passes}*off->kill" for passes in (2, 5, 7, 9, 11)]
# Not on the way of this work:
ELSEWHERE = (
    "commit.", "convert.", "made.", "exec.", "logs.", "db.", "snapshot.", "diff.", "mounts.",
    "network.", "quarantine.", "scrub.", "checkpoint.", "restore.", "sandbox.", "arrival.",
    "departure.", "shift.",
)  # fmt: skip
ARMED = [f"{step}=kill" for step in STEPS if not step.startswith(ELSEWHERE)] + COMMITS


@pytest.mark.parametrize("armed", ARMED)
def test_a_kill_at_any_step_is_survived(armed: str, image: str, short_path: Path) -> None:
    daemon = Daemon(short_path)
    try:
        assert killed_while_working(daemon, image, armed), f"nothing in the work passes {armed}"
        daemon.start()
        check_nothing_unexplained(daemon)
        with suppress(ApiError):
            daemon.delete("/v1/default/containers/c1", force=True)
        work(daemon, image)
        check_nothing_unexplained(daemon)
    except BaseException:
        print(daemon.log[-8000:])
        raise
    finally:
        daemon.clean_up()


def killed_while_working(daemon: Daemon, image: str, armed: str) -> bool:
    """Start an armed agent, let it work; return whether it was killed on the way."""
    daemon.start(TRICORN_FAILPOINTS=armed, wait=False)
    try:
        daemon.wait_ready()
        work(daemon, image)
        daemon.post("/v1/gc")
        return daemon.terminate() == -9
    except LOST:
        return daemon.wait_exit() == -9
    except RuntimeError:  # it ended before it was ready
        return True


def test_twenty_containers_survive_a_kill(image: str) -> None:
    """Every state, exit code and line of output is right after the agent was gone for a while."""
    with running_daemon() as daemon:
        daemon.put("/v1/default/images", {"reference": image, "plain_http": True})
        for number in range(20):
            # Odd ones end while no agent runs; even ones live on
            script = f"echo before-{number}; sleep 1.5; echo after-{number}; exit {number}"
            if number % 2 == 0:
                script = f"echo before-{number}; sleep 1.5; echo after-{number}; sleep 60"
            daemon.put(f"/v1/default/containers/c{number}", {"image": image, "args": ["sh", "-c", script]})
        before = {item["id"]: item for item in daemon.get("/v1/default/containers")["items"]}
        daemon.kill()
        logs = [daemon.root / f"containers/default/c{number}/log" for number in range(20)]
        eventually(lambda: all(b"after-" in log.read_bytes() for log in logs))
        daemon.start()
        for number in range(20):
            container = f"/v1/default/containers/c{number}"
            if number % 2:
                assert daemon.get(f"{container}/wait")["exit_code"] == number
            task = daemon.get(container)["task"]
            assert task["status"] == ("stopped" if number % 2 else "running")
            if not number % 2:
                assert task["pid"] == before[f"c{number}"]["task"]["pid"]
            lines = daemon.lines("GET", f"{container}/logs")
            assert [line["text"] for line in lines] == [f"before-{number}", f"after-{number}"]
        check_nothing_unexplained(daemon)
        for number in range(20):
            daemon.delete(f"/v1/default/containers/c{number}", force=True)
        check_nothing_unexplained(daemon)
