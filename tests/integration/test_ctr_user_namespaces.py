"""`ctr run --uidmap --gidmap`: the client shifts the owners of the image's files, the agent lets the container's
root reach them.
"""

from __future__ import annotations

import os

import pytest

from tricorn_testing.ctr import Ctr
from tricorn_testing.daemon import Daemon

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


def test_other_bundles_stay_closed(ctr: Ctr, ctr_agent: Daemon, busybox: str, container: str) -> None:
    ctr.run("run", "-d", busybox, container, "sleep", "1000")
    bundle = ctr_agent.state / "bundles" / ctr.namespace / container
    assert bundle.stat().st_mode & 0o077 == 0
