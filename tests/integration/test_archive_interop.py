"""Images between an agent and a real containerd: its store writes what ours reads, and the other way round."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tricorn_testing.containerd import Containerd, running_containerd
from tricorn_testing.ctr import missing_ctr
from tricorn_testing.daemon import Daemon, segment
from tricorn_testing.images import ImageLayout, LayerBuilder, busybox_layer
from tricorn_testing.paths import short_directory
from tricorn_testing.registry import Registry

pytestmark = [pytest.mark.integration, pytest.mark.root]
VERSION = "2.1"  # its daemon writes and reads archives itself; 1.6 leaves both to ctr, which other tests try


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> ImageLayout:
    """`all`: two platforms, a gzip and a zstd layer each."""
    made = ImageLayout(tmp_path_factory.mktemp("interop"))
    base = busybox_layer()
    images = [
        made.add_image(
            [base, LayerBuilder().file("etc/name", platform).layer("zstd")],
            {"Cmd": ["/bin/cat", "/etc/name"]},
            platform=platform,
        )
        for platform in ("linux/amd64", "linux/arm64")
    ]
    made.tag("all", made.add_index(images))
    return made


@pytest.fixture(scope="module")
def containerd() -> Iterator[Containerd]:
    if reason := missing_ctr(VERSION):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    with (
        short_directory() as directory,
        running_containerd(directory / "c", "interop", version=VERSION) as running,
    ):
        yield running


def run(agent: Daemon, *words: str, status: int = 0) -> str:
    done = agent.cli(*words)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def digest_of(agent: Daemon, namespace: str, name: str) -> str:
    found: dict[str, str] = agent.get(f"/v1/{namespace}/images/{segment(name)}")
    return found["digest"]


def is_whole(agent: Daemon, namespace: str, name: str) -> bool:
    """For all platforms."""
    (checked,) = agent.get(f"/v1/{namespace}/image-check?all_platforms=true&name={segment(name)}")["items"]
    return bool(checked["complete"])


def test_all_platforms_at_once(
    agent: Daemon, registry: Registry, layout: ImageLayout, own_namespace: str
) -> None:
    """What was pulled for all can be pushed and exported as it is; asked again, nothing is to be done."""
    name = registry.push(layout, "all", "interop/wide:1")
    pull = ("-n", own_namespace, "--json", "image", "pull", "-q", "--plain-http")
    run(agent, *pull, name)
    assert not is_whole(agent, own_namespace, name)
    assert json.loads(run(agent, *pull, "--all-platforms", name))["actions"][0]["reason"] == "incomplete"
    assert is_whole(agent, own_namespace, name)
    assert agent.get(f"/v1/{own_namespace}/images/{segment(name)}")["unpacked"] is True
    assert json.loads(run(agent, *pull, "--all-platforms", name))["changed"] is False
    copy = f"{registry.address}/interop/copy:1"
    run(agent, "-n", own_namespace, "image", "push", "-q", "--plain-http", name, copy)
    assert registry.digest("interop/copy:1") == digest_of(agent, own_namespace, name)
    refused = run(agent, *pull, "--all-platforms", "--also-platform", "linux/arm64", name, status=2)
    assert "exclude each other" in refused


def test_a_layouts_directory_comes_in(agent: Daemon, layout: ImageLayout, own_namespace: str) -> None:
    words = ("image", "import", "-q", "--all-platforms", "--base-name", "example.com/dir", str(layout.path))
    printed = run(agent, "-n", own_namespace, *words)
    assert printed == f"example.com/dir:all@{digest_of(agent, own_namespace, 'example.com/dir:all')}\n"
    assert is_whole(agent, own_namespace, "example.com/dir:all")


def test_a_digest_of_several_names_removes_none(
    agent: Daemon, layout: ImageLayout, own_namespace: str
) -> None:
    words = ("-n", own_namespace, "image")
    run(agent, *words, "import", "-q", "--base-name", "example.com/dir", str(layout.path))
    digest = digest_of(agent, own_namespace, "example.com/dir:all")
    run(agent, *words, "tag", "example.com/dir:all", "example.com/dir:again")
    refused = run(agent, *words, "rm", digest[7:19], status=2)
    assert "example.com/dir:again, example.com/dir:all" in refused
    run(agent, *words, "rm", "example.com/dir:again")
    run(agent, *words, "rm", digest[7:19])
    assert run(agent, *words, "ls", "-q") == ""


def test_there_and_back(
    agent: Daemon, registry: Registry, layout: ImageLayout, containerd: Containerd, agents_namespace: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    """From a containerd's store to ours and from ours to an empty one, for all platforms; each runs the other's."""
    name = registry.push(layout, "all", "interop/back:1")
    digest = registry.digest("interop/back:1")
    theirs, ours = tmp_path / "theirs.tar", tmp_path / "ours.tar"
    containerd.ctr.run("images", "pull", "--plain-http", "--all-platforms", name)
    containerd.ctr.export(theirs, "--all-platforms", name)
    containerd.ctr.run("images", "rm", "--sync", name)

    words = ("-n", agents_namespace)
    assert run(agent, *words, "image", "import", "-q", "--all-platforms", str(theirs)) == f"{name}@{digest}\n"
    assert is_whole(agent, agents_namespace, name)
    assert run(agent, *words, "run", "--rm", "--pull", "never", name) == "linux/amd64"

    run(agent, *words, "image", "export", "-q", "--all-platforms", "-o", str(ours), name)
    containerd.ctr.run("images", "import", "--all-platforms", str(ours))
    (row,) = containerd.ctr.rows("images", "check")
    assert (row["REF"], row["DIGEST"], row["STATUS"].split()[0]) == (name, digest, "complete")
    done: subprocess.CompletedProcess[Any] = containerd.ctr.run("run", "--rm", name, "interop")
    assert done.stdout == "linux/amd64"
