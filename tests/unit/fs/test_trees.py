"""Removal and measurement of trees that change, nest deep or hold odd things."""

from __future__ import annotations

import os

import pytest

from tricorn.errors import Aborted, InvalidArgument, PermissionDenied, ResourceExhausted
from tricorn.fs import copytree, trees
from tricorn.fs.failures import typed
from tricorn.fs.overlay import OverlaySnapshotter


@pytest.fixture
def base(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_removal(tmp_path, base):
    (tmp_path / "t/a/b").mkdir(parents=True)
    (tmp_path / "t/a/f").touch()
    (tmp_path / "outside").touch()
    (tmp_path / "t/link").symlink_to(tmp_path / "outside")
    (tmp_path / "t/dirlink").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    for name in ("t", "file", "missing"):
        trees.remove_tree(base, name)
    assert os.listdir(tmp_path) == ["outside"]


def test_a_symlink_is_removed_itself(tmp_path, base):
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to("d")
    trees.remove_tree(base, "l")
    assert os.listdir(tmp_path) == ["d"]


def test_usage_counts_links_once(tmp_path, base):
    (tmp_path / "t/d").mkdir(parents=True)
    (tmp_path / "t/f").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "t/f", tmp_path / "t/d/g")
    os.symlink("f", tmp_path / "t/s")
    size, inodes = trees.disk_usage(base, "t")
    assert inodes == 4
    assert 100_000 <= size < 120_000


def test_a_directory_that_moves_away_ends_the_walk(tmp_path, base):
    (tmp_path / "t/a/b").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()

    def visit(fd: int, name: str, entries) -> None:
        if name == "b":
            os.rename(tmp_path / "t/a/b", tmp_path / "elsewhere/b")

    with pytest.raises(Aborted):
        trees.walk(base, "t", visit, lambda _: None)


def test_what_vanishes_is_passed_over(tmp_path, base):
    for name in "abc":
        (tmp_path / "t" / name).mkdir(parents=True)
    seen = []

    def visit(fd: int, name: str, entries) -> None:
        seen.append(name)
        if name == "t":
            os.rmdir(tmp_path / "t/b")

    trees.walk(base, "t", visit, lambda _: None)
    assert sorted(seen) == ["a", "c", "t"]


def test_copies_without_copy_file_range(tmp_path, monkeypatch):
    def refuse(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    data = os.urandom(2_500_000)
    (tmp_path / "a/f").write_bytes(data)
    copytree.copy_tree(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "b/f").read_bytes() == data


@pytest.mark.parametrize(
    ("code", "cls"), [(28, ResourceExhausted), (1, PermissionDenied), (40, InvalidArgument)]
)
def test_failures_are_typed(code, cls):
    error = typed(OSError(code, "x"), "cannot do it")
    assert type(error) is cls
    assert "cannot do it" in str(error)


def test_a_root_that_mount_options_cannot_carry_is_refused():
    with pytest.raises(InvalidArgument, match="root"):
        OverlaySnapshotter("/var/lib/a,b")


@pytest.mark.root
async def test_overlay_on_overlay_is_told_with_the_reason(tmp_path, mounted):
    from tricorn.ports import FilesystemMount

    for name in ("l", "u", "w"):
        (tmp_path / name).mkdir()
    options = (f"lowerdir={tmp_path}/l", f"upperdir={tmp_path}/u", f"workdir={tmp_path}/w")
    target = mounted([FilesystemMount("overlay", "overlay", options)], tmp_path / "t")
    reason = await OverlaySnapshotter(str(target / "root")).supported()
    assert "whiteouts" in reason or "overlay" in reason
    assert await OverlaySnapshotter(str(tmp_path / "root")).supported() == ""
    assert os.listdir(tmp_path / "root") == ["snapshots"]
