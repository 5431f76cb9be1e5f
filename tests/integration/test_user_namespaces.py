"""Containers of our own in user namespaces: the image's layers are shown with other owners, not copied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn_testing.daemon import ApiError, Daemon, running_daemon
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]
NS = "default"
UID, GID = 100_000, 200_000
MAPS = ("--uidmap", f"0:{UID}:65536", "--gidmap", f"0:{GID}:65536")


@pytest.fixture(scope="module")
def agent() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        daemon.directory.chmod(0o711)  # the mapped root has to pass
        yield daemon


@pytest.fixture(scope="module")
def image(agent: Daemon, busybox_reference: str) -> str:
    agent.put(f"/v1/{NS}/images", {"reference": busybox_reference, "plain_http": True})
    return busybox_reference


@pytest.mark.parametrize(("runtime", "snapshotter"), [("crun", "overlayfs"), ("runc", "native")])
def test_its_root_is_nobody_on_the_node(agent: Daemon, image: str, runtime: str, snapshotter: str) -> None:
    if shutil.which(runtime) is None:
        pytest.skip(f"no {runtime} here")
    name = f"{runtime}-{snapshotter}"
    script = "id -u; stat -c %u:%g /bin/sh /; : >/made; chown 5:6 /etc/group; echo end; exec sleep 1000"
    options = ["-d", "--runtime", runtime, "--snapshotter", snapshotter, "--name", name, *MAPS]
    done = agent.cli("run", *options, image, "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    eventually(lambda: "end" in agent.cli("logs", name).stdout)
    assert agent.cli("logs", name).stdout.split() == ["0", "0:0", "0:0", "end"]
    pid = agent.get(f"/v1/{NS}/containers/{name}")["task"]["pid"]
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", str(UID), "65536"]
    assert os.stat(f"/proc/{pid}").st_uid == UID
    root = f"/proc/{pid}/root"
    for file, owner in (("made", (UID, GID)), ("etc/group", (UID + 5, GID + 6)), ("bin/sh", (UID, GID))):
        found = os.stat(f"{root}/{file}")
        assert (found.st_uid, found.st_gid) == owner, file
    told = agent.cli("exec", name, "sh", "-c", "id -g; cat /made; touch /dev/x")
    assert (told.returncode, told.stdout) == (0, "0\n"), told.stderr
    path = f"/v1/{NS}/containers/{name}"
    agent.post(f"{path}/stop", {"timeout": 0})
    agent.post(f"{path}/start")
    assert agent.post(f"{path}/exec", {"args": ["stat", "-c", "%u", "/made"]})["stdout"] == "0\n"
    with pytest.raises(ApiError, match="user namespace"):
        agent.post(f"{path}/commit", {"reference": f"test/{name}:1"})
    agent.delete(path, force=True)
    below = (name for _, names, _ in os.walk(agent.state) for name in names)  # some of it is just going
    assert not [name for name in below if name.startswith(".layers-")]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"uid_map": ["0:0:1000"]}, "node's root"),
        ({"uid_map": ["1:100000:10"]}, "root must be mapped"),
        ({"uid_map": ["0:100000:10", "5:200000:10"]}, "twice"),
        ({"uid_map": ["0:4294967290:100"]}, "out of range"),
        ({"uid_map": ["0:x:1"]}, "malformed"),
        ({"uid_map": ["0:100000:10"], "namespaces": {"user": "host"}}, "of the container's own"),
    ],
    ids=["root", "without-root", "twice", "range", "malformed", "host"],
)
def test_bad_mappings_are_refused(agent: Daemon, image: str, wanted: dict[str, object], words: str) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        agent.put(f"/v1/{NS}/containers/bad", {"image": image, "args": ["true"], **wanted})
    assert caught.value.status == 400
    assert agent.get(f"/v1/{NS}/containers")["items"] == []


def test_it_sees_the_nodes_network_when_asked(agent: Daemon, image: str) -> None:
    done = agent.cli("run", "--rm", "--net", "host", *MAPS, image, "sh", "-c", "ls /sys/class/net; id -u")
    assert done.returncode == 0, done.stderr
    assert "lo" in done.stdout.split()
