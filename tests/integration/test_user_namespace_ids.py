"""Containers that leave the ids of their user namespace to the agent; and hosts whose mounts can't show other
owners: there the image's layers are copied, shifted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.daemon import ApiError, Daemon, running_daemon
from tricorn_testing.paths import found
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]
NS = "default"
FIRST, SIZE = 1_000_000_000, 1000
RANGES = f'[user_namespaces]\nrange = "{FIRST}:{2 * SIZE + 1}"\nsize = {SIZE}\n'


@pytest.fixture(scope="module")
def agent(busybox_reference: str) -> Iterator[Daemon]:
    """An agent with ids for two containers, whose native snapshots lie on a file system without id-mapping."""
    with running_daemon(RANGES) as daemon:
        daemon.directory.chmod(0o711)  # the mapped root has to pass
        daemon.put(f"/v1/{NS}/images", {"reference": busybox_reference, "plain_http": True})
        yield daemon


@pytest.fixture
def image(agent: Daemon, busybox_reference: str) -> Iterator[str]:
    yield busybox_reference
    for item in agent.get(f"/v1/{NS}/containers")["items"]:
        agent.delete(f"/v1/{NS}/containers/{item['id']}", force=True)


def private(image: str, **more: Any) -> dict[str, Any]:
    return {"image": image, "args": ["sleep", "1000"], "namespaces": {"user": "private"}, **more}


def run(agent: Daemon, name: str, image: str, **more: Any) -> dict[str, Any]:
    return dict(agent.put(f"/v1/{NS}/containers/{name}", private(image, **more)))


def mapped(agent: Daemon, name: str, kind: str = "uid") -> list[str]:
    pid = agent.get(f"/v1/{NS}/containers/{name}")["task"]["pid"]
    return Path(f"/proc/{pid}/{kind}_map").read_text().split()


def shifted(agent: Daemon, snapshotter: str) -> list[dict[str, Any]]:
    items = agent.get(f"/v1/{NS}/snapshots", snapshotter=snapshotter)["items"]
    return [item for item in items if "containerd.io/snapshot/uidmapping" in item["labels"]]


def test_ids_are_each_containers_own(agent: Daemon, image: str) -> None:
    done = agent.cli("run", "-d", "--userns", "private", "--name", "a", image, "sleep", "1000")
    assert done.returncode == 0, done.stderr
    run(agent, "b", image)
    ours = {name: (mapped(agent, name), mapped(agent, name, "gid")) for name in "ab"}
    expected = [["0", str(FIRST + number * SIZE), str(SIZE)] for number in range(2)]
    assert ours == {"a": (expected[0],) * 2, "b": (expected[1],) * 2}
    agent.kill()
    agent.start()
    with pytest.raises(ApiError, match="no 1000 user ids are free"):
        run(agent, "c", image)
    assert run(agent, "b", image)["changed"] is False
    agent.post(f"/v1/{NS}/containers/b/stop", {"timeout": 0})
    agent.post(f"/v1/{NS}/containers/b/start")
    assert mapped(agent, "b") == expected[1]
    agent.delete(f"/v1/{NS}/containers/a", force=True)
    run(agent, "c", image, uid_map=[f"0:{FIRST + 10}:10"])  # one's own choice is nobody else's, too
    with pytest.raises(ApiError, match="no 1000 user ids are free"):
        run(agent, "a", image)
    agent.delete(f"/v1/{NS}/containers/c", force=True)
    run(agent, "a", image)
    assert mapped(agent, "a") == expected[0]
    assert shifted(agent, "overlayfs") == []


@pytest.fixture
def unmappable(agent: Daemon) -> Iterator[None]:
    """The native snapshotter's directory on an overlay, which the kernel doesn't map."""
    native = agent.root / "snapshots/native"
    layers = [agent.directory / name for name in ("lower", "upper", "work")]
    for path in (native, *layers):
        path.mkdir(parents=True, exist_ok=True)
    options = ",".join(
        f"{key}={path}" for key, path in zip(("lowerdir", "upperdir", "workdir"), layers, strict=True)
    )
    agent.terminate()
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(native)], check=True)
    try:
        agent.start()
        yield
    finally:
        agent.terminate()
        subprocess.run(["umount", str(native)], check=True)
        for path in layers:
            shutil.rmtree(path)
        agent.config_file.write_text(RANGES)
        agent.start()


def check_shifted(agent: Daemon, image: str, snapshotter: str) -> None:
    script = "stat -c %u:%g /bin/sh /bin; : >/made; chown 5:6 /etc/group; echo end; exec sleep 1000"
    args = ["sh", "-c", script]
    run(agent, "a", image, snapshotter=snapshotter, args=args)
    eventually(lambda: "end" in agent.cli("logs", "a").stdout)
    assert agent.cli("logs", "a").stdout.split() == ["0:0", "0:0", "end"]
    pid = agent.get(f"/v1/{NS}/containers/a")["task"]["pid"]
    for file, number in (("made", 0), ("bin/busybox", 0), ("etc/group", 5)):
        assert os.stat(f"/proc/{pid}/root/{file}").st_uid == FIRST + number, file
    (copy,) = shifted(agent, snapshotter)
    assert copy["labels"]["containerd.io/snapshot/uidmapping"] == f"0:{FIRST}:{SIZE}"
    assert copy["kind"] == "committed"
    agent.post(f"/v1/{NS}/containers/a/stop", {"timeout": 0})
    agent.post(f"/v1/{NS}/containers/a/start")
    told = agent.post(f"/v1/{NS}/containers/a/exec", {"args": ["stat", "-c", "%u", "/made", "/bin/sh"]})
    assert told["stdout"] == "0\n0\n"
    agent.delete(f"/v1/{NS}/containers/a", force=True)
    run(agent, "a", image, snapshotter=snapshotter)  # the same ids again: the same copy
    assert [item["key"] for item in shifted(agent, snapshotter)] == [copy["key"]]
    agent.delete(f"/v1/{NS}/containers/a", force=True)
    agent.post("/v1/gc")
    assert shifted(agent, snapshotter) == []


def test_layers_are_shifted_where_mounts_cannot_map_them(agent: Daemon, image: str, unmappable: None) -> None:
    check_shifted(agent, image, "native")


def test_layers_are_shifted_where_that_is_configured(agent: Daemon, image: str) -> None:
    agent.config_file.write_text(RANGES + 'layers = "shifted"\n')
    agent.terminate()
    agent.start(TRICORN_FAILPOINTS="shift.shifted=kill")
    with pytest.raises((ApiError, OSError, EOFError)):
        run(agent, "a", image)
    assert agent.wait_exit() == -9
    agent.start()
    check_shifted(agent, image, "overlayfs")
    assert not found(agent.state, "mounts/*")
