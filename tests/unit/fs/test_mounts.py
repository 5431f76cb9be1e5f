"""Real mounts: overlay both ways, binds, roll-back, and what is left."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound, TricornError
from tricorn.fs import mounts, syscalls
from tricorn.ports import FilesystemMount

pytestmark = pytest.mark.root


@pytest.fixture
def layers(tmp_path: Path) -> list[Path]:
    made = []
    for number in range(3):
        layer = tmp_path / f"layer{number}"
        layer.mkdir()
        (layer / f"f{number}").touch()
        made.append(layer)
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    return made


def overlay(tmp_path: Path, layers: list[Path]) -> FilesystemMount:
    lower = ":".join(map(str, layers))
    return FilesystemMount(
        "overlay", "overlay", (f"workdir={tmp_path}/work", f"upperdir={tmp_path}/upper", f"lowerdir={lower}")
    )


def test_an_overlay(tmp_path, layers, mounted):
    target = mounted([overlay(tmp_path, layers)], tmp_path / "t")
    assert sorted(os.listdir(target)) == ["f0", "f1", "f2"]
    (target / "new").touch()
    assert os.listdir(tmp_path / "upper") == ["new"]


def test_the_classic_call_does_the_same(tmp_path, layers, mounted, monkeypatch):
    def none(*_: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(mounts, "_legacy", False)
    monkeypatch.setattr(syscalls, "fsopen", none)
    before = os.getcwd()
    target = mounted([overlay(tmp_path, layers)], tmp_path / "t")
    assert sorted(os.listdir(target)) == ["f0", "f1", "f2"]
    assert os.getcwd() == before
    mounts.unmount(str(target))
    target = mounted(
        [FilesystemMount("overlay", "overlay", ("ro", f"lowerdir={layers[0]}:{layers[1]}"))], tmp_path / "t"
    )
    with pytest.raises(OSError, match="Read-only"):
        (target / "x").touch()


@pytest.mark.parametrize("classic", [False, True])
def test_500_layers_and_no_more(tmp_path, mounted, monkeypatch, classic):
    monkeypatch.setattr(mounts, "_legacy", classic)
    made = []
    for number in range(501):
        layer = tmp_path / "layers-with-a-rather-long-name" / str(number) / "fs"
        layer.mkdir(parents=True)
        (layer / f"f{number}").touch()
        made.append(str(layer))
    target = mounted(
        [FilesystemMount("overlay", "overlay", ("lowerdir=" + ":".join(made[:500]),))], tmp_path / "t"
    )
    assert len(os.listdir(target)) == 500
    with pytest.raises(InvalidArgument, match="500"):
        mounts.mount_all(
            [FilesystemMount("overlay", "overlay", ("lowerdir=" + ":".join(made),))], str(tmp_path / "t")
        )


def test_a_kernel_that_takes_no_single_layers_is_asked_once(tmp_path, layers, mounted, monkeypatch):
    """Each try is an error in its log."""
    asked = []

    def context(*_):
        asked.append(1)
        raise OSError(22, "no such parameter")

    monkeypatch.setattr(mounts, "_legacy", False)
    monkeypatch.setattr(mounts, "overlay_context", context)
    for name in ("t", "u"):
        target = mounted([overlay(tmp_path, layers)], tmp_path / name)
        assert sorted(os.listdir(target)) == ["f0", "f1", "f2"]
        mounts.unmount(str(target))
    assert len(asked) == 1


def test_what_no_mount_takes_is_asked_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(mounts, "_legacy", False)
    (tmp_path / "t").mkdir()
    for _ in range(2):
        with pytest.raises(TricornError):
            mounts.mount_all(
                [FilesystemMount("overlay", "overlay", (f"lowerdir={tmp_path}/none",))], str(tmp_path / "t")
            )
    assert not mounts._legacy


def test_a_read_only_bind(tmp_path, layers, mounted):
    target = mounted([FilesystemMount("bind", str(layers[0]), ("ro", "rbind", "nosuid"))], tmp_path / "t")
    assert os.listdir(target) == ["f0"]
    with pytest.raises(OSError, match="Read-only"):
        (target / "x").touch()
    (layers[0] / "written-at-the-source").touch()


def test_another_type(tmp_path, mounted):
    target = mounted([FilesystemMount("tmpfs", "tmpfs", ("mode=0700", "size=64k", "nodev"))], tmp_path / "t")
    assert target.stat().st_mode & 0o777 == 0o700


def test_all_or_none(tmp_path, layers):
    target = tmp_path / "t"
    target.mkdir()
    bad = FilesystemMount("overlay", "overlay", (f"lowerdir={layers[0]}:/nonexistent",))
    with pytest.raises(NotFound, match="overlay"):
        mounts.mount_all([FilesystemMount("bind", str(layers[0]), ("rbind",)), bad], str(target))
    assert mounts.mounted_below(str(target)) == []
    with pytest.raises(TricornError):
        mounts.mount_all([FilesystemMount("nonsense", "x")], str(target))


def test_the_kernel_says_why(tmp_path, layers):
    bad = FilesystemMount("overlay", "overlay", (f"lowerdir={layers[0]}", "nonsense=1"))
    with pytest.raises(TricornError) as info:
        mounts.mount_all([bad], str(tmp_path / "upper"))
    assert info.value.why


def test_unmount_is_idempotent_and_takes_all_down(tmp_path, layers):
    target = tmp_path / "t"
    target.mkdir()
    assert not mounts.unmount(str(target))
    assert not mounts.unmount(str(tmp_path / "missing"))
    for layer in layers:
        mounts.mount_all([FilesystemMount("bind", str(layer), ("rbind",))], str(target))
    assert mounts.unmount(str(target))
    assert os.listdir(target) == []


def test_a_busy_mount_needs_detach(tmp_path, layers, mounted):
    target = mounted([FilesystemMount("bind", str(layers[0]), ("rbind",))], tmp_path / "t")
    with (target / "f0").open(), pytest.raises(FailedPrecondition, match="busy"):
        mounts.unmount(str(target))
    with (target / "f0").open():
        assert mounts.unmount(str(target), detach=True)


def test_mounted_below(tmp_path, mounted):
    outer = mounted([FilesystemMount("tmpfs", "tmpfs")], tmp_path / "out er\t")
    inner = mounted([FilesystemMount("tmpfs", "tmpfs")], outer / "in")
    other = mounted([FilesystemMount("tmpfs", "tmpfs")], tmp_path / "out er\tx")
    assert mounts.mounted_below(str(outer)) == [str(inner), str(outer)]
    assert str(other) in mounts.mounted_below(str(tmp_path))


async def test_from_trio_tasks(tmp_path, layers):
    target = str(tmp_path / "upper")
    await mounts.mount_in_thread([FilesystemMount("bind", str(layers[0]), ("rbind",))], target)
    assert await mounts.unmount_in_thread(target, detach=True)
    assert not await mounts.unmount_in_thread(target)


def test_a_mount_takes_no_time_to_speak_of(tmp_path, layers):
    target = tmp_path / "t"
    target.mkdir()
    best = 1.0
    for _ in range(20):
        start = time.perf_counter()
        mounts.mount_all([overlay(tmp_path, layers)], str(target))
        best = min(best, time.perf_counter() - start)
        mounts.unmount(str(target), detach=True)
    assert best < 0.01
