"""`ctr snapshots`: every command of both versions does here what it does with containerd."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shlex
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tricorn_testing.ctr import Ctr
from tricorn_testing.daemon import Daemon, running_daemon
from tricorn_testing.images import ImageLayout, LayerBuilder, busybox_layer
from tricorn_testing.registry import Registry

pytestmark = [pytest.mark.root, pytest.mark.integration]


@pytest.fixture(scope="module")
def ctr_agent() -> Iterator[Daemon]:
    """An agent that collects on demand only: `ctr snapshots view` gives nothing that would keep the view."""
    with running_daemon("[gc]\nschedule = false\n") as running:
        yield running


@contextmanager
def mounted(ctr: Ctr, key: str, target: Path, *options: str) -> Iterator[Path]:
    """Mount a snapshot by the very command that `ctr` prints."""
    target.mkdir(exist_ok=True)
    command = ctr.run("snapshots", *options, "mounts", str(target), key).stdout
    subprocess.run(shlex.split(command), check=True, timeout=60)
    try:
        yield target
    finally:
        subprocess.run(["umount", str(target)], check=True, timeout=60)


def base_layer(ctr: Ctr, tmp_path: Path, name: str, *options: str) -> None:
    """Make the committed snapshot `name` with some files."""
    ctr.run("snapshots", *options, "prepare", f"{name}-work")
    with mounted(ctr, f"{name}-work", tmp_path / "mnt", *options) as root:
        (root / "kept").write_text("kept")
        (root / "gone").write_text("gone")
    ctr.run("snapshots", *options, "commit", name, f"{name}-work")


def layer_of(output: bytes) -> dict[str, str]:
    """Return the files of a gzipped layer with their content."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(output))) as archive:
        found = {}
        for item in archive:
            file = archive.extractfile(item)
            found[item.name] = file.read().decode() if file else ""
        return found


def keys(ctr: Ctr, *options: str) -> dict[str, tuple[str, str]]:
    return {row["KEY"]: (row["PARENT"], row["KIND"]) for row in ctr.rows("snapshots", *options, "ls")}


@pytest.mark.parametrize("options", [(), ("--snapshotter", "native")], ids=["overlayfs", "native"])
def test_a_life_of_snapshots(ctr: Ctr, tmp_path: Path, options: tuple[str, ...]) -> None:
    base_layer(ctr, tmp_path, "base", *options)
    ctr.run("snapshots", *options, "prepare", "active", "base")
    ctr.run("snapshots", *options, "view", "looked", "base")
    assert keys(ctr, *options) == {
        "active": ("base", "Active"), "base": ("", "Committed"), "looked": ("base", "View"),
    }  # fmt: skip
    tree = ctr.run("snapshots", *options, "tree").stdout
    assert re.findall(r"[a-z]+", tree) == ["base", "active", "looked"]

    with mounted(ctr, "active", tmp_path / "mnt", *options) as root:
        (root / "new").write_text("new")
        (root / "gone").unlink()
        assert (root / "kept").read_text() == "kept"
    with mounted(ctr, "looked", tmp_path / "mnt", *options) as root:
        assert (root / "gone").read_text() == "gone"
        with pytest.raises(OSError, match="Read-only"):
            (root / "new").write_text("new")

    usage = {row["KEY"]: row for row in ctr.rows("snapshots", *options, "usage")}
    assert set(usage) == {"active", "base", "looked"}
    assert int(usage["base"]["INODES"]) == 3

    ctr.run("snapshots", *options, "commit", "second", "active")
    info = json.loads(ctr.run("snapshots", *options, "info", "second").stdout)
    assert (info["Kind"], info["Name"], info["Parent"]) == ("Committed", "second", "base")
    assert "containerd.io/gc.root" in info["Labels"]
    ctr.run("snapshots", *options, "label", "second", "a=b", "c=d")
    ctr.run("snapshots", *options, "label", "second", "c=")
    info = json.loads(ctr.run("snapshots", *options, "info", "second").stdout)
    assert (info["Labels"]["a"], "c" in info["Labels"]) == ("b", False)

    refused = ctr.run("snapshots", *options, "rm", "base", check=False)
    assert refused.returncode == 1
    assert "second" in refused.stderr
    assert "looked" in refused.stderr
    ctr.run("snapshots", *options, "rm", "looked", "second", "base")
    assert keys(ctr, *options) == {}


def test_a_diff_is_the_layer_between_two_snapshots(ctr: Ctr, tmp_path: Path) -> None:
    base_layer(ctr, tmp_path, "diff-base")
    ctr.run("snapshots", "prepare", "diff-active", "diff-base")
    with mounted(ctr, "diff-active", tmp_path / "mnt") as root:
        (root / "new").write_text("new")
        (root / "gone").unlink()
    for left, right, wanted in (
        ("diff-base", "diff-active", {"new": "new", ".wh.gone": ""}),
        ("diff-active", "diff-base", {"gone": "gone", ".wh.new": ""}),
        ("diff-active", "", {"new": "new", ".wh.gone": ""}),
    ):
        # One key is the snapshot against its parent
        words = [left, right] if right else [left]
        output = subprocess.run(
            ctr.command("snapshots", "diff", *words), capture_output=True, timeout=60, check=True
        ).stdout
        assert layer_of(output) == wanted, words
    command = ctr.command(
        "snapshots", "diff", "--media-type", "application/vnd.oci.image.layer.v1.tar", "diff-active"
    )
    plain = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    assert layer_of(gzip.compress(plain)) == {"new": "new", ".wh.gone": ""}
    wrong = ctr.run("snapshots", "diff", "--media-type", "text/plain", "diff-active", check=False)
    assert wrong.returncode == 1
    assert "text/plain" in wrong.stderr
    label = ctr.run("snapshots", "diff", "--label", "k=v", "--ref", "mine", "--keep", "diff-active")
    assert label.returncode == 0
    assert "k=v" in ctr.run("content", "ls").stdout
    ctr.run("snapshots", "rm", "diff-active", "diff-base")


def test_errors_have_containerds_codes(ctr: Ctr) -> None:
    ctr.run("snapshots", "prepare", "taken")
    for words, part in (
        (("prepare", "taken"), "already exists"), (("prepare", "new", "missing"), "not found"),
        (("prepare", "new", "taken"), "invalid argument"), (("info", "missing"), "not found"),
        (("commit", "new", "missing"), "not found"), (("rm", "missing"), "not found"),
        (("mounts", "/mnt", "missing"), "not found"), (("view", "taken"), "already exists"),
        (("label", "missing", "a=b"), "not found"),
    ):  # fmt: skip
        done = ctr.run("snapshots", *words, check=False)
        assert (done.returncode, part in done.stderr) == (1, True), (words, done.stderr)
    unknown = ctr.run("snapshots", "--snapshotter", "zfs", "ls", check=False)
    assert "overlayfs" in unknown.stderr
    ctr.run("snapshots", "rm", "taken")


@pytest.fixture(scope="module")
def layered(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image whose layers have everything that makes unpacking difficult."""
    layout = ImageLayout(Path(tmp_path_factory.mktemp("layered")) / "layout")
    lower = (
        LayerBuilder().directory("private", mode=0o700, uid=7).file("private/old", "old").directory("opaque")
        .file("opaque/hidden", "x").file("gone", "x")
    )  # fmt: skip
    upper = (
        LayerBuilder().file("private/new", "new").opaque("opaque").file("opaque/seen", "y").whiteout("gone")
    )
    layout.tag("layered", layout.add_image([busybox_layer(), lower.layer("zstd"), upper.layer("")], {}))
    return registry.push(layout, "layered", "layered/image:1")


@pytest.mark.parametrize("options", [(), ("--snapshotter", "native")], ids=["overlayfs", "native"])
def test_a_client_unpacks_by_itself(
    ctr: Ctr, ctr_agent: Daemon, layered: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    ctr_agent.put(f"/v1/{ctr.namespace}/images", {"reference": layered, "plain_http": True, "unpack": False})
    assert keys(ctr, *options) == {}
    digest = next(row for row in ctr.rows("images", "ls") if row["REF"] == layered)["DIGEST"]
    ctr.run("snapshots", "unpack", *options, digest)
    found = keys(ctr, *options)
    assert len(found) == 3
    assert {kind for _, kind in found.values()} == {"Committed"}
    top = (set(found) - {parent for parent, _ in found.values()}).pop()
    ctr.run("snapshots", *options, "view", "unpacked", top)
    with mounted(ctr, "unpacked", tmp_path / "mnt", *options) as root:
        assert sorted(os.listdir(root / "opaque")) == ["seen"]
        assert not (root / "gone").exists()
        assert sorted(os.listdir(root / "private")) == ["new", "old"]
        status = (root / "private").stat()
        assert (status.st_mode & 0o777, status.st_uid) == (0o700, 7)
    # What the agent unpacks by itself is the same
    reference = ctr_agent.put(f"/v1/{ctr.namespace}/images", {"reference": layered, "plain_http": True})
    assert reference
    assert set(keys(ctr, *options)) == {*found, "unpacked"}
    ctr.run("snapshots", *options, "rm", "unpacked")
    ctr.run("images", "rm", "--sync", layered)
    assert keys(ctr, *options) == {}
