"""Layers of random changes: made of an upper directory and of both trees, applied in both forms."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tricorn.fs.copytree import copy_tree
from tricorn.fs.diffing import LayerDiffer
from tricorn.fs.extraction import ExtractorPool
from tricorn.ports import FilesystemMount
from tricorn_testing.tar_bytes import apply, tree_state

pytestmark = pytest.mark.root
NAMES = ("a", "b", "c", "dir", "lib", "x" * 120)


@pytest.fixture
async def differ(tmp_path: Path) -> AsyncIterator[LayerDiffer]:
    async with ExtractorPool() as pool:
        yield LayerDiffer(pool, str(tmp_path / "scratch"))


def everything(root: Path) -> list[Path]:
    found = [root]
    for directory, names, files in os.walk(root):
        found += [Path(directory, name) for name in (*names, *files)]
    return sorted(found)


def change(root: Path, dice: random.Random) -> None:
    """Do something to some place of the tree."""
    places = everything(root)
    directories = [path for path in places if path.is_dir() and not path.is_symlink()]
    files = [path for path in places if path.is_file() and not path.is_symlink()]
    new = dice.choice(directories) / dice.choice(NAMES)
    verb = dice.choice(
        ("write", "write", "mkdir", "link", "symlink", "remove", "mode", "append", "fifo", "touch")
    )
    if verb == "remove" and len(places) > 1:
        victim = dice.choice(places[1:])
        if victim.is_dir() and not victim.is_symlink():
            shutil.rmtree(victim)
        else:
            victim.unlink()
    elif verb == "mode":
        path = dice.choice(directories + files)
        os.chmod(path, dice.choice((0o700, 0o755, 0o4755, 0o1777)))
        os.chown(path, dice.randrange(3), dice.randrange(3))
    elif verb in ("append", "touch") and files:
        path = dice.choice(files)
        if verb == "append":
            path.write_bytes(path.read_bytes() + b"more")
        else:
            time = dice.randrange(10**9) * 10**9 + dice.choice((0, 5))
            os.utime(path, ns=(time, time))
    elif not os.path.lexists(new):
        _make(verb, new, files, dice)


def _make(verb: str, new: Path, files: list[Path], dice: random.Random) -> None:
    if verb == "write":
        new.write_bytes(dice.randbytes(dice.randrange(3000)))
    elif verb == "mkdir":
        new.mkdir()
    elif verb == "symlink":
        new.symlink_to(dice.choice(NAMES))
    elif verb == "fifo":
        os.mkfifo(new)
    elif verb == "link" and files:
        os.link(dice.choice(files), new)


def shape(root: Path) -> dict[str, tuple]:
    """What a layer keeps: no times of directories and links, and hard links only by their content."""
    found = {}
    for name, (mode, uid, gid, _links, time, content, xattrs) in tree_state(root).items():
        seconds = time // 10**9 if stat.S_ISREG(mode) else 0
        own = tuple(item for item in xattrs if not item[0].startswith("trusted.overlay."))
        found[name] = (mode, uid, gid, seconds, content, own)
    return found


async def layer(differ: LayerDiffer, left, right, *, whole: bool) -> bytes:
    async with differ.start(left, right, "", whole=whole) as running:
        data = b""
        while part := await running.read():
            data += part
        await running.finish()
        return data


@pytest.mark.parametrize("seed", range(6))
async def test_random_changes_survive_the_way_through_a_layer(
    seed: int, differ: LayerDiffer, tmp_path: Path, mounted: Callable
) -> None:
    dice = random.Random(seed)
    lower, upper, work = (tmp_path / name for name in ("lower", "upper", "work"))
    for path in (lower, upper, work):
        path.mkdir()
        path.chmod(0o755)
    for _ in range(40):
        change(lower, dice)
    upper.chmod(stat.S_IMODE(lower.stat().st_mode))
    os.chown(upper, lower.stat().st_uid, lower.stat().st_gid)
    options = ("index=off", f"workdir={work}", f"upperdir={upper}", f"lowerdir={lower}")
    right = [FilesystemMount("overlay", "overlay", options)]
    merged = mounted(right, tmp_path / "merged")
    for _ in range(40):
        change(merged, dice)
    left = [FilesystemMount("bind", str(lower), ("ro", "rbind"))]
    for whole in (False, True):
        archive = await layer(differ, left, right, whole=whole)
        copy = tmp_path / f"copy{whole}"
        copy.mkdir()
        copy_tree(str(lower), str(copy))
        apply(copy, archive, "apply")
        assert shape(copy) == shape(merged)
        marks = tmp_path / f"marks{whole}"
        marks.mkdir()
        marks.chmod(stat.S_IMODE(lower.stat().st_mode))
        os.chown(marks, lower.stat().st_uid, lower.stat().st_gid)
        apply(marks, archive, "overlay")
        item = FilesystemMount("overlay", "overlay", (f"lowerdir={marks}:{lower}",))
        assert shape(mounted([item], tmp_path / f"shown{whole}")) == shape(merged)
