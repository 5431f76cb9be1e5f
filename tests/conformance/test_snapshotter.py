"""The snapshotter suite: containerd's cases, by their names, against every implementation of the port."""

# ruff: noqa: ASYNC240 - the tests look at directories between calls; nothing else runs meanwhile

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn.errors import InvalidArgument, NotFound, TricornError
from tricorn.fs import mounts
from tricorn.fs.native import NativeSnapshotter
from tricorn.fs.overlay import OverlaySnapshotter
from tricorn.model.records import SnapshotKind
from tricorn.ports import Snapshotter
from tricorn_testing.tar_bytes import tree_state

pytestmark = pytest.mark.root

IMPLEMENTATIONS = {"overlay": OverlaySnapshotter, "native": NativeSnapshotter}


class Bench:
    """Keeps the records that the store would: parents of each snapshot, and what is mounted."""

    def __init__(self, snapshotter: Snapshotter, directory: Path) -> None:
        self.snapshotter = snapshotter
        self.directory = directory
        self.parents: dict[str, list[str]] = {}
        self.kinds: dict[str, SnapshotKind] = {}
        self.mounted: list[Path] = []

    async def prepare(self, key: str, parent: str = "", kind: SnapshotKind = SnapshotKind.ACTIVE) -> Path:
        self.parents[key] = [parent, *self.parents[parent]] if parent else []
        self.kinds[key] = kind
        await self.snapshotter.create(key, kind, self.parents[key])
        return self.mount(key)

    async def view(self, key: str, parent: str = "") -> Path:
        return await self.prepare(key, parent, SnapshotKind.VIEW)

    def mount(self, key: str) -> Path:
        target = self.directory / f"mnt-{key}-{len(self.mounted)}"
        target.mkdir()
        mounts.mount_all(self.snapshotter.mounts(key, self.kinds[key], self.parents[key]), str(target))
        self.mounted.append(target)
        return target

    def unmount(self, target: Path) -> None:
        assert mounts.unmount(str(target))

    async def commit(self, key: str, target: Path) -> None:
        self.unmount(target)
        await self.snapshotter.commit(key)

    async def layer(self, key: str, parent: str, change) -> None:
        target = await self.prepare(key, parent)
        change(target)
        await self.commit(key, target)

    def close(self) -> None:
        for target in self.mounted:
            mounts.unmount(str(target), detach=True)


@pytest.fixture(params=IMPLEMENTATIONS)
def snapshotter(request, tmp_path) -> Snapshotter:
    return IMPLEMENTATIONS[request.param](str(tmp_path / "root"))


@pytest.fixture
def bench(snapshotter, tmp_path) -> Iterator[Bench]:
    made = Bench(snapshotter, tmp_path)
    yield made
    made.close()


def write(root: Path, **files: str) -> None:
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def content(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


async def test_supported(snapshotter):
    assert await snapshotter.supported() == ""
    assert await snapshotter.supported() == ""


async def test_basic(bench):
    first = await bench.prepare("first")
    write(first, foo="foo\n", a__b__c="abc")
    await bench.commit("first", first)
    second = await bench.prepare("second", "first")
    assert content(second) == {"foo": "foo\n", "a/b/c": "abc"}
    write(second, bar="bar\n", foo="changed")
    shutil.rmtree(second / "a/b")
    await bench.commit("second", second)
    assert content(await bench.view("v1", "first")) == {"foo": "foo\n", "a/b/c": "abc"}
    assert content(await bench.view("v2", "second")) == {"foo": "changed", "bar": "bar\n"}


async def test_stat_active(bench, snapshotter):
    target = await bench.prepare("a")
    write(target, f="x" * 100_000)
    usage = await snapshotter.usage("a")
    assert usage.size >= 100_000
    assert usage.inodes == 2


async def test_stat_committed(bench, snapshotter):
    target = await bench.prepare("a")
    write(target, f="x" * 10_000)
    os.link(target / "f", target / "g")
    bench.unmount(target)
    usage = await snapshotter.commit("a")
    assert usage == await snapshotter.usage("a")
    assert usage.inodes == 2  # hard links count once
    assert 10_000 <= usage.size < 20_000 + 4096


async def test_usage_of_a_missing_one(snapshotter):
    with pytest.raises(NotFound):
        await snapshotter.usage("missing")


async def test_transitivity(bench):
    for number in range(5):
        parent = f"layer{number - 1}" if number else ""
        await bench.layer(
            f"layer{number}",
            parent,
            lambda root, n=number: write(root, **{f"file{n}": str(n), "last": str(n)}),
        )
    target = await bench.prepare("top", "layer4")
    assert content(target) == {**{f"file{n}": str(n) for n in range(5)}, "last": "4"}


async def test_view_readonly(bench):
    await bench.layer("base", "", lambda root: write(root, f="x"))
    await bench.layer("more", "base", lambda root: write(root, g="y"))
    for key, parent in (("v0", ""), ("v1", "base"), ("v2", "more")):
        view = await bench.view(key, parent)
        with pytest.raises(OSError, match="Read-only"):
            (view / "new").touch()


async def test_remove(bench, snapshotter):
    await bench.layer("a", "", lambda root: write(root, x__y="1"))
    await bench.layer("b", "a", lambda root: write(root, z="1"))
    assert set(await snapshotter.walk()) == {"a", "b"}
    await snapshotter.remove("b")
    assert await snapshotter.walk() == ["a"]
    await snapshotter.remove("b")
    await snapshotter.remove("a")
    assert await snapshotter.walk() == []


async def test_remove_with_immutable_modes_and_deep_trees(bench, snapshotter):
    target = await bench.prepare("deep")
    fd = os.open(target, os.O_RDONLY)
    for _ in range(1100):  # no path can name the end of it, and no recursion reaches it
        os.mkdir("deep", 0o000, dir_fd=fd)
        below = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    bench.unmount(target)
    assert (await snapshotter.commit("deep")).inodes == 1101
    await snapshotter.create("copy", SnapshotKind.ACTIVE, ["deep"])
    for key in ("copy", "deep"):
        await snapshotter.remove(key)
    assert await snapshotter.walk() == []


async def test_deleted_files_in_child(bench):
    await bench.layer("base", "", lambda root: write(root, foo="1", bar="2", a__b__c="3"))

    def change(root: Path) -> None:
        (root / "foo").unlink()
        shutil.rmtree(root / "a")

    await bench.layer("child", "base", change)
    assert content(await bench.view("v", "child")) == {"bar": "2"}
    await bench.layer("again", "child", lambda root: write(root, a__new="4"))
    assert content(await bench.view("w", "again")) == {"bar": "2", "a/new": "4"}


async def test_move_file_from_lower(bench):
    await bench.layer("base", "", lambda root: write(root, dir1__f1="hello", dir2__f2="again"))
    await bench.layer("child", "base", lambda root: os.rename(root / "dir1/f1", root / "dir2/f1"))
    assert content(await bench.view("v", "child")) == {"dir2/f1": "hello", "dir2/f2": "again"}


async def test_rename(bench):
    await bench.layer("base", "", lambda root: write(root, dir1__f1="x", somefiles__f2="y"))

    def change(root: Path) -> None:
        os.rename(root / "somefiles/f2", root / "somefiles/f3")
        shutil.move(root / "dir1", root / "dir2")

    await bench.layer("child", "base", change)
    assert content(await bench.view("v", "child")) == {"dir2/f1": "x", "somefiles/f3": "y"}


async def test_dir_perm_on_commit(bench):
    def base(root: Path) -> None:
        (root / "dir").mkdir()
        (root / "dir").chmod(0o700)
        (root / "sticky").mkdir()
        (root / "sticky").chmod(0o1777)

    await bench.layer("base", "", base)
    await bench.layer("child", "base", lambda root: write(root, dir__f="x"))
    view = await bench.view("v", "child")
    assert stat.S_IMODE((view / "dir").stat().st_mode) == 0o700
    assert stat.S_IMODE((view / "sticky").stat().st_mode) == 0o1777


async def test_chown(bench):
    def base(root: Path) -> None:
        write(root, opt__a__b="x")
        os.chown(root / "opt", 1, 1)

    await bench.layer("base", "", base)
    await bench.layer("child", "base", lambda root: os.chown(root / "opt/a", 2, 3))
    view = await bench.view("v", "child")
    assert (
        (view / "opt").stat().st_uid,
        (view / "opt/a").stat().st_gid,
        (view / "opt/a/b").stat().st_uid,
    ) == (1, 3, 0)


async def test_layer_fileupdate(bench):
    await bench.layer("base", "", lambda root: write(root, f="one", g="one"))
    await bench.layer("child", "base", lambda root: write(root, f="two"))
    await bench.layer(
        "grandchild", "child", lambda root: (root / "g").write_text((root / "g").read_text() + "+")
    )
    assert content(await bench.view("v", "grandchild")) == {"f": "two", "g": "one+"}
    assert content(await bench.view("w", "base")) == {"f": "one", "g": "one"}


async def test_remove_dir_in_lower(bench):
    await bench.layer("base", "", lambda root: write(root, dir1__f="x", keep="k"))
    await bench.layer("second", "base", lambda root: shutil.rmtree(root / "dir1"))
    await bench.layer("third", "second", lambda root: write(root, dir1__new="n"))
    assert content(await bench.view("v", "third")) == {"keep": "k", "dir1/new": "n"}


async def test_root_permission(bench):
    target = await bench.prepare("a")
    assert stat.S_IMODE(target.stat().st_mode) == 0o755
    target.chmod(0o711)
    os.chown(target, 7, 8)
    await bench.commit("a", target)
    child = await bench.prepare("b", "a")
    status = child.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o711, 7, 8)


async def test_128_layers_mount(bench):
    await bench.layer("l0", "", lambda root: write(root, bottom="b"))
    for number in range(1, 128):
        await bench.snapshotter.create(
            f"l{number}", SnapshotKind.ACTIVE, [f"l{n}" for n in reversed(range(number))]
        )
        bench.parents[f"l{number}"] = [f"l{n}" for n in reversed(range(number))]
        bench.kinds[f"l{number}"] = SnapshotKind.ACTIVE
    target = await bench.prepare("top", "l127")
    assert content(target) == {"bottom": "b"}
    write(target, bottom="new", top="t")
    assert content(target) == {"bottom": "new", "top": "t"}


async def test_close_twice(bench):
    target = await bench.prepare("a")
    bench.unmount(target)
    assert not mounts.unmount(str(target))


async def test_a_repeated_create_replaces(bench, snapshotter):
    target = await bench.prepare("a")
    write(target, half="made")
    bench.unmount(target)
    await snapshotter.create("a", SnapshotKind.ACTIVE, [])
    assert content(bench.mount("a")) == {}
    assert await snapshotter.walk() == ["a"]


async def test_a_failed_create_leaves_nothing(snapshotter):
    with pytest.raises(TricornError):
        await snapshotter.create("a", SnapshotKind.ACTIVE, ["missing"])
    assert await snapshotter.walk() == []


@pytest.mark.parametrize("key", ["", "..", ".", "a/b", "../x", "a,b", "a:b", "-x", "x" * 200])
async def test_ids_that_are_no_file_names_are_refused(snapshotter, key):
    with pytest.raises(InvalidArgument):
        await snapshotter.create(key, SnapshotKind.ACTIVE, [])
    with pytest.raises(InvalidArgument):
        await snapshotter.remove(key)


async def test_half_made_directories_are_walked_and_removed(snapshotter, tmp_path):
    await snapshotter.create("a", SnapshotKind.ACTIVE, [])
    for name in ("new-x", "rm-y-1-2"):
        (tmp_path / "root" / "snapshots" / name / "fs").mkdir(parents=True)
    assert await snapshotter.walk() == ["a", "new-x", "rm-y-1-2"]
    for name in await snapshotter.walk():
        await snapshotter.remove(name)
    assert await snapshotter.walk() == []


async def test_the_root_is_private(snapshotter, tmp_path):
    (tmp_path / "root" / "snapshots").mkdir(parents=True)
    os.chmod(tmp_path / "root" / "snapshots", 0o755)
    await snapshotter.create("a", SnapshotKind.ACTIVE, [])
    for path in ("root", "root/snapshots", "root/snapshots/a"):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o700, path


async def test_a_child_is_a_faithful_copy(bench):
    def base(root: Path) -> None:
        write(root, f="content", d__g="x")
        (root / "s").symlink_to("/absolute")
        os.link(root / "f", root / "d/hard")
        os.mkfifo(root / "p")
        os.mknod(root / "c", stat.S_IFCHR | 0o640, os.makedev(10, 200))
        os.chown(root / "f", 5, 6)
        os.chmod(root / "f", 0o4711)
        os.lchown(root / "s", 7, 8)
        os.setxattr(root / "f", "user.note", b"v")
        os.setxattr(root / "d", "user.dir", b"w")
        os.setxattr(root / "s", "trusted.link", b"z", follow_symlinks=False)
        for name in ("f", "s", "p", "c", "d/g", "d"):
            os.utime(root / name, ns=(1, 1_234_567_890_123_456_789), follow_symlinks=False)

    await bench.layer("base", "", base)
    view, child = await bench.view("v", "base"), await bench.prepare("c", "base")
    assert tree_state(child) == tree_state(view)
    assert (child / "f").stat().st_ino == (child / "d/hard").stat().st_ino


async def test_holes_stay_holes(bench):
    def base(root: Path) -> None:
        with (root / "sparse").open("wb") as file:
            file.seek(50 << 20)
            file.write(b"end")
            file.truncate(60 << 20)

    await bench.layer("base", "", base)
    child = await bench.prepare("c", "base")
    status = (child / "sparse").stat()
    assert status.st_size == 60 << 20
    assert status.st_blocks * 512 < 1 << 20
    with (child / "sparse").open("rb") as file:
        file.seek(50 << 20)
        assert file.read(4) == b"end\0"


async def test_parallel_layers_adopt_implied_directories(tmp_path, bench, snapshotter):
    if snapshotter.layer_root("x") is None:
        await bench.layer("base", "", lambda root: os.chmod(root, 0o711))
        child = await bench.prepare("c", "base")
        await snapshotter.adopt("c", ["base"], (".",))  # a full copy has it already
        assert stat.S_IMODE(child.stat().st_mode) == 0o711
        return
    for key in ("one", "two"):
        await snapshotter.create(key, SnapshotKind.ACTIVE, [])
    one, two = Path(snapshotter.layer_root("one")), Path(snapshotter.layer_root("two"))
    (one / "tmp").mkdir()
    os.chmod(one / "tmp", 0o1777)
    os.chmod(one, 0o711)
    os.setxattr(one / "tmp", "user.note", b"v")
    os.setxattr(one / "tmp", "trusted.overlay.opaque", b"y")
    os.utime(one / "tmp", (1, 1))
    (one / "link").symlink_to("/etc")
    (two / "tmp").mkdir()
    (two / "link").mkdir()
    (two / "tmp" / "f").touch()
    await snapshotter.adopt("two", ["one"], (".", "tmp", "link", "gone", "tmp/f", "../one"))
    status = (two / "tmp").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o1777, 1)
    assert os.listxattr(two / "tmp") == ["user.note"]
    assert stat.S_IMODE(two.stat().st_mode) == 0o711
    assert stat.S_IMODE((two / "link").stat().st_mode) == 0o755
