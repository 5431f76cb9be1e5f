"""Layers made of two trees: applied to the left one they give the right one, byte for byte the same again."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import socket
import stat
import tarfile
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from pathlib import Path

import pytest
import trio
import zstandard

from tricorn.errors import FailedPrecondition, NotFound, ResourceExhausted
from tricorn.fs import readonly_trees
from tricorn.fs.copytree import copy_tree
from tricorn.fs.diffing import LayerDiffer, takes_a_mount, upper_directory
from tricorn.fs.extraction import ExtractorPool
from tricorn.ports import FilesystemMount
from tricorn_testing.tar_bytes import apply, tree_state

pytestmark = pytest.mark.root


@pytest.fixture
async def differ(tmp_path: Path) -> AsyncIterator[LayerDiffer]:
    async with ExtractorPool() as pool:
        yield LayerDiffer(pool, str(tmp_path / "scratch"))


def bind(path: Path) -> list[FilesystemMount]:
    return [FilesystemMount("bind", str(path), ("rw", "rbind"))]


class Overlay:
    """A lower directory, changed through a mount."""

    def __init__(self, base: Path, lower: Path, mount: Callable) -> None:
        self.lower, self.upper = lower, base / "upper"
        work = base / "work"
        for path in (self.upper, work):
            path.mkdir()
        self.upper.chmod(stat.S_IMODE(lower.stat().st_mode))
        options = ("index=off", f"workdir={work}", f"upperdir={self.upper}", f"lowerdir={lower}")
        self.mounts = [FilesystemMount("overlay", "overlay", options)]
        self.merged = mount(self.mounts, base / "merged")


async def make(differ: LayerDiffer, left, right, compression: str = "", **more) -> bytes:
    """Return the layer; check what the child says of it."""
    async with differ.start(left, right, compression, **more) as running:
        data = b""
        while part := await running.read():
            data += part
        result = await running.finish()
    plain = {
        "gzip": gzip.decompress,
        "zstd": lambda text: zstandard.ZstdDecompressor().decompressobj().decompress(text),
    }
    archive = plain[compression](data) if compression else data
    assert result.size == len(archive)
    assert result.diff_id == f"sha256:{hashlib.sha256(archive).hexdigest()}"
    return data


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=BytesIO(archive)) as file:
        return [("./" if item.name == "." else item.name) + "/" * item.isdir() for item in file]


def shape(path: Path) -> dict[str, tuple]:
    """All that a layer keeps: times in whole seconds, none of directories, no sockets."""
    found = {}
    for name, (mode, uid, gid, links, time, content, xattrs) in tree_state(path).items():
        if stat.S_ISSOCK(mode):
            continue
        seconds = 0 if stat.S_ISDIR(mode) else time // 10**9
        kept = tuple(item for item in xattrs if not item[0].startswith("trusted."))
        found[name] = (mode, uid, gid, links, seconds, content, kept)
    return found


def fill(base: Path) -> Path:
    """A tree with some of everything."""
    base.mkdir()
    base.chmod(0o755)
    for name in (
        "same",
        "changed",
        "gone",
        "touched",
        "to-directory",
        "a/deep/file",
        "a/other",
        "b/one",
        "b/two",
    ):
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (base / "link").symlink_to("same")
    os.link(base / "same", base / "hard")
    (base / "whole/of/it").mkdir(parents=True)
    return base


def change(root: Path) -> None:
    """Every kind of change there is."""
    (root / "changed").write_text("CONTENT OF changed")  # the same size …
    os.utime(root / "changed", (1_000_000_000, 1_000_000_000))  # … and time
    (root / "gone").unlink()
    os.utime(root / "touched", (1_100_000_000, 1_100_000_000))
    (root / "to-directory").unlink()
    (root / "to-directory").mkdir()
    (root / "to-directory/file").write_text("x")
    shutil.rmtree(root / "whole")
    (root / "whole").write_text("a file now")
    shutil.rmtree(root / "b")
    (root / "b").mkdir()
    (root / "b/three").write_text("3")
    (root / "a/deep/file").chmod(0o4711)
    (root / "a").chmod(0o700)
    (root / "link").unlink()
    (root / "link").symlink_to("/etc/" + "x" * 120)
    new = root / "new"
    new.mkdir(mode=0o1777)
    os.chown(new, 3_000_000, 4_000_000_000)
    (new / ("n" * 200)).write_text("long")
    (new / "ünïcode").write_text("utf-8")
    Path(os.fsdecode(os.fsencode(new) + b"/not\xff\xfeutf8")).write_text("bytes")
    (new / "first").write_text("linked")
    os.link(new / "first", new / "second")
    os.setxattr(new / "first", "user.mine", b"\x00value\n")
    os.setxattr(
        new / "first", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000")
    )
    os.mkfifo(new / "fifo")
    os.mknod(new / "device", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(new / "socket"))
    (new / "big").write_bytes(os.urandom(300_000) + bytes(700_000))


async def test_a_layer_of_two_trees_gives_the_right_one(differ, tmp_path):
    left = fill(tmp_path / "left")
    right = tmp_path / "right"
    right.mkdir()
    copy_tree(str(left), str(right))
    change(right)
    archive = await make(differ, bind(left), bind(right))
    assert "same" not in names(archive)
    assert not [name for name in names(archive) if name.startswith("hard") or "socket" in name]
    apply(left, archive, "apply")
    assert shape(left) == shape(right)


async def test_an_upper_directory_is_read_alone(differ, tmp_path, mounted):
    lower = fill(tmp_path / "lower")
    overlay = Overlay(tmp_path, lower, mounted)
    change(overlay.merged)
    assert upper_directory(bind(lower), overlay.mounts) == str(overlay.upper)
    archive = await make(differ, bind(lower), overlay.mounts)
    whole = await make(differ, bind(lower), overlay.mounts, whole=True)
    found = names(archive)
    assert "b/.wh..wh..opq" in found
    assert "b/.wh.one" in names(whole)
    assert "new/.wh..wh..opq" not in found  # opaque in the upper directory, but with nothing to hide
    assert ".wh.gone" in found
    for number, layer in enumerate((archive, whole)):
        copy = tmp_path / f"copy{number}"
        copy.mkdir()
        copy_tree(str(lower), str(copy))
        apply(copy, layer, "apply")
        assert shape(copy) == shape(overlay.merged)


async def test_a_layer_applied_for_overlay_shows_the_same(differ, tmp_path, mounted):
    lower = fill(tmp_path / "lower")
    overlay = Overlay(tmp_path, lower, mounted)
    change(overlay.merged)
    archive = await make(differ, bind(lower), overlay.mounts)
    upper = tmp_path / "again"
    upper.mkdir()
    upper.chmod(0o755)
    apply(upper, archive, "overlay")
    options = (f"lowerdir={upper}:{lower}",)
    shown = mounted([FilesystemMount("overlay", "overlay", options)], tmp_path / "shown")
    assert shape(shown) == shape(overlay.merged)


async def test_the_way_back(differ, tmp_path, mounted):
    """The left side may be the changed one, mounted and in use."""
    lower = fill(tmp_path / "lower")
    overlay = Overlay(tmp_path, lower, mounted)
    change(overlay.merged)
    archive = await make(differ, overlay.mounts, bind(lower))
    assert ".wh.new" in names(archive)
    apply(overlay.merged, archive, "apply")
    assert shape(overlay.merged) == shape(lower)


async def test_nothing_changed_is_nothing(differ, tmp_path, mounted):
    lower = fill(tmp_path / "lower")
    overlay = Overlay(tmp_path, lower, mounted)
    os.close(os.open(overlay.merged / "same", os.O_RDWR))  # copied up by the kernel, but the same
    (overlay.merged / "a/x").write_text("")
    (overlay.merged / "a/x").unlink()
    assert (overlay.upper / "same").exists()
    for right in (overlay.mounts, bind(lower)):
        assert await make(differ, bind(lower), right) == bytes(1024)
    assert await make(differ, overlay.mounts, overlay.mounts) == bytes(1024)


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
async def test_the_same_trees_give_the_same_bytes(compression, differ, tmp_path):
    right = fill(tmp_path / "right")
    change(right)
    first = await make(differ, [], bind(right), compression)
    assert await make(differ, [], bind(right), compression) == first
    empty = tmp_path / "empty"
    empty.mkdir()
    empty.chmod(0o755)
    assert await make(differ, bind(empty), bind(right), compression) == first


async def test_times_and_the_root(differ, tmp_path):
    right = fill(tmp_path / "right")
    left = tmp_path / "left"
    left.mkdir()
    left.chmod(0o755)
    (left / "deleted").write_text("")
    right.chmod(0o711)
    archive = await make(differ, bind(left), bind(right), epoch=5_000)
    with tarfile.open(fileobj=BytesIO(archive)) as file:
        members = list(file)
    assert {item.mtime for item in members} == {5_000}
    assert (members[0].name, members[0].mode) == (".", 0o711)
    assert {(item.uname, item.gname) for item in members} == {("", "")}


async def test_what_only_the_kernel_can_read_takes_a_mount(differ, tmp_path, mounted):
    lower = fill(tmp_path / "lower")
    overlay = Overlay(tmp_path, lower, mounted)
    (overlay.merged / "a/new").write_text("x")
    for name in ("redirect", "metacopy"):
        os.setxattr(overlay.upper / "a", f"trusted.overlay.{name}", b"")
        with pytest.raises(FailedPrecondition) as caught:
            await make(differ, bind(lower), overlay.mounts)
        assert takes_a_mount(caught.value)
        os.removexattr(overlay.upper / "a", f"trusted.overlay.{name}")


async def test_marks_of_other_mounts_stay_out(differ, tmp_path):
    right = tmp_path / "right"
    right.mkdir()
    (right / "file").write_text("x")
    (right / ".wh.trap").write_text("would delete")
    for key in ("trusted.mine", "user.overlay.opaque", "user.kept"):
        os.setxattr(right / "file", key, b"y")
    with tarfile.open(fileobj=BytesIO(await make(differ, [], bind(right)))) as file:
        members = {item.name: item.pax_headers for item in file}
    assert {key for key in members["file"] if "xattr" in key} == {"SCHILY.xattr.user.kept"}
    assert ".wh.trap" not in members


async def test_a_tree_too_deep_for_a_layer_is_refused(differ, tmp_path):
    right = tmp_path / "right"
    right.mkdir()
    fd = os.open(right, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=fd)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    with pytest.raises(ResourceExhausted):
        await make(differ, [], bind(right))


async def test_trees_that_are_not_there(differ, tmp_path):
    with pytest.raises(NotFound):
        await make(differ, [], bind(tmp_path / "none"))


async def test_an_abandoned_diff_ends(differ, tmp_path):
    right = tmp_path / "right"
    right.mkdir()
    (right / "big").write_bytes(bytes(50 << 20))
    with trio.fail_after(30):
        async with differ.start([], bind(right), "") as running:
            assert await running.read()
        pool = differ._pool
        assert pool._server is not None
        assert pool._server.poll() is None


def test_trees_are_opened_for_reading_only(tmp_path):
    (tmp_path / "dir").mkdir()
    os.mknod(tmp_path / "dir/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    item = FilesystemMount("bind", str(tmp_path / "dir"), ("rw", "rbind"))
    for tree in (
        readonly_trees.open_tree([item], ""),
        readonly_trees._attached([readonly_trees._readonly(item)], str(tmp_path / "scratch")),
    ):
        with pytest.raises(OSError, match="Read-only"):
            os.mkdir("new", dir_fd=tree.fd)
        with pytest.raises(PermissionError):
            os.open("null", os.O_RDONLY, dir_fd=tree.fd)
        assert os.listdir(tree.fd) == ["null"]
        tree.close()
    assert os.listdir(tmp_path / "scratch") == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
