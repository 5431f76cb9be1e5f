"""What integration tests share: agents, containerd's own client in both versions, an image, a lab of nodes."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from tricorn_testing.ansible_plays import Ansible
from tricorn_testing.browser import MISSING as NO_BROWSER
from tricorn_testing.browser import browser
from tricorn_testing.ctr import VERSIONS, Ctr, ctr_program, missing_ctr
from tricorn_testing.daemon import ApiError, Daemon, running_daemon
from tricorn_testing.grpc_client import GrpcClient, grpc_client
from tricorn_testing.images import ImageLayout, LayerBuilder, busybox_image, busybox_layer
from tricorn_testing.labs import Lab, provide_agents, running_lab
from tricorn_testing.labs import polite_image as push_polite_image
from tricorn_testing.registry import Registry


@pytest.fixture(scope="module")
def agent() -> Iterator[Daemon]:
    """A running agent, one for the whole module."""
    with running_daemon() as running:
        yield running


@pytest.fixture
def ansible(tmp_path: Path) -> Ansible:
    """Runs tasks of the collection, from a directory of this test's own."""
    return Ansible(tmp_path)


@pytest.fixture
def own_namespace(request: pytest.FixtureRequest) -> str:
    """A namespace that no other test works in."""
    return re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:60].strip("-")


@pytest.fixture
def agents_namespace(agent: Daemon, own_namespace: str) -> str:
    """A namespace that no test of any other agent works in either: its cgroup goes with the agent's."""
    return f"{agent.directory.name}-{own_namespace[:50].strip('-')}"[:70].strip("-")


@pytest.fixture
async def client(agent: Daemon, busybox_reference: str, agents_namespace: str) -> AsyncIterator[GrpcClient]:
    """A gRPC client in such a namespace, which has the image."""
    body = {"reference": busybox_reference, "plain_http": True}
    await trio.to_thread.run_sync(agent.put, f"/v1/{agents_namespace}/images", body)
    async with grpc_client(agent, agents_namespace) as made:
        yield made


@pytest.fixture(scope="module")
def ctr_agent() -> Iterator[Daemon]:
    """The agent that `ctr` talks to."""
    with running_daemon() as running:
        yield running


@pytest.fixture(scope="module", params=VERSIONS)
def ctr(request: pytest.FixtureRequest, ctr_agent: Daemon) -> Ctr:
    """`ctr` in each version, in a namespace that no other version and no other agent works in."""
    version: str = request.param
    if reason := missing_ctr(version):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    namespace = f"{ctr_agent.directory.name}-{version.replace('.', '')}"  # its cgroup goes with the agent's
    fifos = ctr_agent.directory / "fifos"
    return Ctr(version, ctr_program(version), ctr_agent.socket_path, namespace, fifos)


@pytest.fixture(scope="session")
def busybox_reference(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A one-layer image with a shell, in the registry."""
    layout = ImageLayout(Path(tmp_path_factory.mktemp("busybox")) / "layout")
    busybox_image(layout, "busybox")
    return registry.push(layout, "busybox", "ctr/busybox:1")


@pytest.fixture(scope="session")
def two_platforms(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of two platforms, in the registry; ours has a whiteout over its first layer."""
    layout = ImageLayout(Path(tmp_path_factory.mktemp("daemon")) / "layout")
    top = LayerBuilder().whiteout("etc/os-release").file("etc/motd", "welcome\n").directory("srv")
    config = {
        "Cmd": ["sh", "-c", "echo default command"], "Env": ["PATH=/bin", "FROM_IMAGE=yes"],
        "Labels": {"maintainer": "tests", "containerd.io/restart.loguri": "binary:///bin/evil"},
    }  # fmt: skip
    ours = layout.add_image([busybox_layer(), top.layer("zstd")], config)
    other = layout.add_image([LayerBuilder().file("arm", "1").layer()], platform="linux/arm64/v8")
    layout.tag("base", layout.add_index([other, ours]))
    return registry.push(layout, "base", "daemon/base:1")


@pytest.fixture(scope="module")
def busybox(ctr: Ctr, ctr_agent: Daemon, busybox_reference: str) -> str:
    """The image's reference; it is in `ctr`'s namespace, unpacked."""
    body = {"reference": busybox_reference, "plain_http": True}
    ctr_agent.put(f"/v1/{ctr.namespace}/images", body)
    return busybox_reference


@pytest.fixture
def container(ctr: Ctr, ctr_agent: Daemon, request: pytest.FixtureRequest) -> Iterator[str]:
    """A container's name in `ctr`'s namespace; what a test leaves under it is removed."""
    chosen = request.node.name.split("[")[0].removeprefix("test_").replace("_", "-").strip("-")[:60]
    yield chosen
    try:
        ctr_agent.delete(f"/v1/{ctr.namespace}/containers/{chosen}", force=True)
    except ApiError as error:
        assert error.status == 404  # noqa: PT017 - in a fixture's end


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser that pages are shown in; in CI it is never missing."""
    program = browser()
    if program is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(NO_BROWSER)
    return program


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three nodes and a registry: machines of their own, with systemd and sshd. All tests share them, so each
    module leaves `fleet` as it was, and has its own names for what it makes there.
    """
    with running_lab(3) as running:
        yield running


@pytest.fixture(scope="session")
def polite_image(lab: Lab) -> str:
    """An image in the lab's own registry; it says goodbye, and has a file `hello`."""
    return push_polite_image(lab)


@pytest.fixture(scope="module")
def fleet(lab: Lab, polite_image: str) -> Lab:
    """The lab with an agent on each node, installed over ssh, and a container `lab` that is always restarted."""
    provide_agents(lab, polite_image)
    return lab
