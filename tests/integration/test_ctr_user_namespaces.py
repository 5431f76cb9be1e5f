"""`ctr run --uidmap --gidmap`: the client shifts the owners of the image's files, the agent lets the container's
root reach them.
"""

from __future__ import annotations

import os

import pytest

from tricorn_testing.ctr import Ctr
from tricorn_testing.daemon import ApiError, Daemon
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.root]
UID, GID = 100_000, 200_000
MAPPED = ("--uidmap", f"0:{UID}:65536", "--gidmap", f"0:{GID}:65536")
RUNTIMES = {"1.6": "runc", "2.1": "crun"}


def test_a_container_in_a_user_namespace(ctr: Ctr, ctr_agent: Daemon, busybox: str, container: str) -> None:
    ctr_agent.directory.chmod(0o711)  # the mapped root has to pass
    ctr.run("run", "-d", "--runc-binary", RUNTIMES[ctr.version], *MAPPED, busybox, container, "sleep", "1000")
    pid = next(row["PID"] for row in ctr.rows("tasks", "ls") if row["TASK"] == container)
    script = "id -u; cat /proc/self/uid_map; stat -c %u:%g /bin/sh; : >/made; echo end >/dev/stdout"
    told = ctr.run("tasks", "exec", "--exec-id", "a", container, "sh", "-c", script).stdout.split()
    assert told == ["0", "0", str(UID), "65536", "0:0", "end"]
    with ctr.terminal("tasks", "exec", "-t", "--exec-id", "b", container, "sh") as terminal:
        terminal.write("cat /proc/self/gid_map; exit 3\n")
        terminal.read_until(f"{GID}")
        assert terminal.wait() == 3
    made = os.stat(f"/proc/{pid}/root/made")
    assert (made.st_uid, made.st_gid) == (UID, GID)
    bundle = ctr_agent.state / "bundles" / ctr.namespace / container
    assert (bundle.stat().st_mode & 0o777, bundle.stat().st_gid) == (0o710, GID)
    assert (bundle / "config.json").stat().st_mode & 0o077 == 0
    ctr.run("tasks", "rm", "-f", container)


def test_layers_are_shown_with_other_owners_where_labels_say_so(
    ctr: Ctr, ctr_agent: Daemon, busybox: str, container: str
) -> None:
    ctr_agent.directory.chmod(0o711)  # the mapped root has to pass
    ctr_agent.state.chmod(0o711)
    before = {row["KEY"] for row in ctr.rows("snapshots", "ls")}
    labelled = ("--runc-binary", RUNTIMES[ctr.version], "--remap-labels", *MAPPED)
    words = ("run", "-d", *labelled, busybox, container, "sh", "-c", ": >/made; exec sleep 1000")
    if ctr.version == "1.6":  # it looks into the image itself, and mounts nothing with other owners
        assert "failed to mount" in ctr.run(*words, check=False).stderr
        ctr.run("snapshots", "rm", container, check=False)  # unless it was collected: nothing refers to it
        return
    ctr.run(*words)
    assert {row["KEY"] for row in ctr.rows("snapshots", "ls")} - before == {container}  # nothing is copied
    pid = next(row["PID"] for row in ctr.rows("tasks", "ls") if row["TASK"] == container)
    eventually(lambda: os.path.exists(f"/proc/{pid}/root/made"))
    told = ctr.run(
        "tasks", "exec", "--exec-id", "a", container, "stat", "-c", "%u:%g", "/bin/sh", "/made", "/"
    )
    assert told.stdout.split() == ["0:0"] * 3
    for file in ("made", "bin/sh", ""):
        found = os.stat(f"/proc/{pid}/root/{file}")
        assert (found.st_uid, found.st_gid) == (UID, GID), file
    assert f"uidmap=0:{UID}:65536" in ctr.run("snapshots", "mounts", "/mnt", container).stdout
    path = f"/v1/{ctr.namespace}/containers/{container}"
    with pytest.raises(ApiError, match="user namespace"):
        ctr_agent.post(f"{path}/commit", {"reference": "test/mapped:1"})
    ctr.run("tasks", "kill", "-s", "KILL", container)
    eventually(lambda: ctr_agent.get(path)["task"]["status"] == "stopped")
    ctr_agent.post(f"{path}/start")  # by the record, without the client
    said = ctr_agent.post(f"{path}/exec", {"args": ["stat", "-c", "%u", "/bin/sh"]})
    assert said["stdout"] == "0\n"
    ctr.run("tasks", "rm", "-f", container)


def test_labels_that_say_nothing_are_refused(ctr: Ctr, busybox: str, container: str) -> None:
    bad = ("--remap-labels", "--uidmap", "0:0:65536", "--gidmap", f"0:{GID}:65536")
    assert "node's root" in ctr.run("run", "-d", *bad, busybox, container, "true", check=False).stderr


def test_other_bundles_stay_closed(ctr: Ctr, ctr_agent: Daemon, busybox: str, container: str) -> None:
    ctr.run("run", "-d", busybox, container, "sleep", "1000")
    bundle = ctr_agent.state / "bundles" / ctr.namespace / container
    assert bundle.stat().st_mode & 0o077 == 0
