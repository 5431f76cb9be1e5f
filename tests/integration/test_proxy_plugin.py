"""A real containerd keeps its layers here: it pulls, runs and removes on our snapshots as on its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn_testing.containerd import Containerd, running_containerd
from tricorn_testing.ctr import VERSIONS, missing_ctr
from tricorn_testing.daemon import Daemon
from tricorn_testing.images import ImageLayout, LayerBuilder, busybox_layer
from tricorn_testing.registry import Registry
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]
OURS = ("--snapshotter", "tricorn")
PATIENCE = 60.0


@pytest.fixture(scope="module", params=VERSIONS)
def peer(request: pytest.FixtureRequest, agent: Daemon) -> Iterator[Containerd]:
    version: str = request.param
    if reason := missing_ctr(version):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    plugin = f'[proxy_plugins.tricorn]\n  type = "snapshot"\n  address = "{agent.socket_path}"'
    directory, namespace = (
        agent.directory / f"c{version}",
        f"{agent.directory.name}-{version.replace('.', '')}",
    )
    with running_containerd(directory, namespace, plugin, version) as daemon:
        connected(daemon)
        yield daemon


@pytest.fixture(scope="module")
def image(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three layers: a shell, some files, and changes to both."""
    layout = ImageLayout(Path(tmp_path_factory.mktemp("proxied")) / "layout")
    files = LayerBuilder().directory("data", mode=0o711).file("data/gone", "x").file("data/kept", "kept")
    changes = LayerBuilder().file("data/new", "new").whiteout("data/gone")
    layout.tag("proxied", layout.add_image([busybox_layer(), files.layer("zstd"), changes.layer()], {}))
    return registry.push(layout, "proxied", "proxied/busybox:1")


def connected(peer: Containerd) -> None:
    """Wait until it speaks to us: it gives a connection a second, and waits a moment before the next one."""
    eventually(lambda: peer.ctr.run("snapshots", *OURS, "ls", check=False).returncode == 0)


def client_side(peer: Containerd) -> list[str]:
    """Let the client unpack: the newer daemon's own unpacking takes another configuration."""
    return [] if peer.ctr.version == "1.6" else ["--local"]


def kept_here(agent: Daemon) -> list[str]:
    return [item["key"] for item in agent.get("/v1/proxied/snapshots")["items"]]


def directories(agent: Daemon) -> set[str]:
    return {path.name for path in agent.root.glob("snapshots/overlayfs/snapshots/*")}


def test_containerd_pulls_runs_and_removes_on_our_snapshots(
    agent: Daemon, peer: Containerd, image: str
) -> None:
    run = peer.ctr.run
    run("images", "pull", *client_side(peer), "--plain-http", *OURS, image)
    assert len(kept_here(agent)) == 3
    agent.post("/v1/gc")
    agent.restart()
    assert len(kept_here(agent)) == 3
    connected(peer)

    script = "ls /data; stat -c %a /data; cat /data/new; echo mine > /own; cat /own"
    done = run("run", "--rm", *OURS, image, "once", "sh", "-c", script)
    assert done.stdout.split() == ["kept", "new", "711", "newmine"]

    run("run", "-d", *OURS, image, "long", "sleep", "1000")
    assert peer.own_mounts()
    eventually(lambda: len(kept_here(agent)) == 4)  # what was removed goes with the other side's collection
    usage = run("snapshots", *OURS, "usage", "long").stdout
    assert "long" in usage
    run("tasks", "kill", "-s", "KILL", "long")
    eventually(lambda: "STOPPED" in run("tasks", "ls").stdout)
    run("tasks", "rm", "long")
    run("containers", "rm", "long")
    assert not peer.own_mounts()

    run("images", "rm", "--sync", image)
    eventually(lambda: not kept_here(agent))
    eventually(lambda: not directories(agent))


def test_two_namespaces_of_the_other_side_do_not_meet(agent: Daemon, peer: Containerd, image: str) -> None:
    other = f"{peer.ctr.namespace}2"
    for namespace in (peer.ctr.namespace, other):
        peer.ctr.run("images", "pull", *client_side(peer), "--plain-http", *OURS, image, namespace=namespace)
    assert len(kept_here(agent)) == 6
    peer.ctr.run("images", "rm", "--sync", image)
    eventually(lambda: len(kept_here(agent)) == 3)
    assert len(peer.ctr.rows("snapshots", *OURS, "ls", namespace=other)) == 3
    peer.ctr.run("images", "rm", "--sync", image, namespace=other)
    eventually(lambda: not kept_here(agent))
    eventually(lambda: not directories(agent))
