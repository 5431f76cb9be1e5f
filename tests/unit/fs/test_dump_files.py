"""Dumps on disk: packed, and looked at before CRIU reads them."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from tricorn.errors import InvalidArgument, ResourceExhausted
from tricorn.fs import dump_files
from tricorn.private_directories import make_directory


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "a/dump"
    make_directory(str(made))
    (made / "core-1.img").write_bytes(b"core")
    (made / "pages-1.img").write_bytes(os.urandom(700_000))
    return made


def test_nobody_else_may_read_it(directory: Path) -> None:
    for path in (directory, directory.parent):
        assert path.stat().st_mode & 0o777 == 0o700
    (directory / "core-1.img").chmod(0o644)
    assert dump_files.close_up(str(directory)) == 700_004
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_the_archive_holds_the_files_and_is_the_same_each_time(directory: Path) -> None:
    pieces: list[bytes] = []
    dump_files.pack(str(directory), pieces.append)
    again: list[bytes] = []
    dump_files.pack(str(directory), again.append)
    assert b"".join(pieces) == b"".join(again)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        assert archive.getnames() == ["core-1.img", "pages-1.img"]
        member = archive.extractfile("pages-1.img")
        assert member is not None
        assert member.read() == (directory / "pages-1.img").read_bytes()


def test_files_are_closed_up_and_named(directory: Path) -> None:
    (directory / "core-1.img").chmod(0o666)
    assert sorted(dump_files.check_files(str(directory))) == ["core-1.img", "pages-1.img"]
    assert (directory / "core-1.img").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["symlink", "hard link", "directory", "fifo", "parent"])
def test_anything_but_files_is_refused(directory: Path, tmp_path: Path, kind: str) -> None:
    """CRIU would follow a link, and give a process the bytes of a file of the host (CVE-2026-53489)."""
    outside = tmp_path / "shadow"
    outside.write_text("secret")
    outside.chmod(0o644)
    odd = directory / ("parent" if kind == "parent" else "pages-2.img")
    if kind in {"symlink", "parent"}:
        odd.symlink_to(outside)
    elif kind == "hard link":
        odd.hardlink_to(outside)
    elif kind == "directory":
        odd.mkdir()
    else:
        os.mkfifo(odd)
    with pytest.raises(InvalidArgument) as caught:
        dump_files.check_files(str(directory))
    assert odd.name in str(caught.value)
    assert bool(caught.value.hint) is (kind == "parent")
    assert outside.stat().st_mode & 0o777 == 0o644


def test_only_the_small_images_are_read_and_not_too_much_of_them(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["core-1.img", "pages-1.img"]
    read = dump_files.read_images(str(directory), names, lambda name: name.startswith("core"))
    assert read == {"core-1.img": b"core"}
    monkeypatch.setattr("tricorn.limits.DUMP_IMAGE_READ", 1000)
    with pytest.raises(ResourceExhausted):
        dump_files.read_images(str(directory), names, lambda _: True)


def archive(path: Path, *entries: tuple[str, bytes]) -> str:
    """Write a tar of entries by name and kind; files hold their name."""
    with tarfile.open(path / "dump.tar", "w") as tar:
        for name, kind in entries:
            item = tarfile.TarInfo(name)
            item.type, item.linkname = kind, "/etc/passwd"
            item.size = len(name) if kind == tarfile.REGTYPE else 0
            tar.addfile(item, io.BytesIO(name.encode()))
    return str(path / "dump.tar")


def test_what_was_packed_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a/pages-1.img").write_bytes(os.urandom(3 << 20))
    (tmp_path / "a/core-1.img").write_bytes(b"core")
    with open(tmp_path / "dump.tar", "wb") as file:
        dump_files.pack(str(tmp_path / "a"), lambda data: file.write(data) and None)
    dump_files.unpack(str(tmp_path / "dump.tar"), str(tmp_path / "b"))
    for name in ("pages-1.img", "core-1.img"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
        assert (tmp_path / "b" / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "entries",
    [
        [("core.img", tarfile.SYMTYPE)], [("parent", tarfile.SYMTYPE)], [("core.img", tarfile.LNKTYPE)],
        [("core.img", tarfile.CHRTYPE)], [("core.img", tarfile.FIFOTYPE)], [("sub", tarfile.DIRTYPE)],
        [("sub/core.img", tarfile.REGTYPE)], [("../core.img", tarfile.REGTYPE)], [("/core.img", tarfile.REGTYPE)],
        [("..", tarfile.REGTYPE)], [("core.img", tarfile.REGTYPE), ("core.img", tarfile.REGTYPE)],
    ],
)  # fmt: skip
def test_more_than_files_is_not_unpacked(tmp_path: Path, entries: list[tuple[str, bytes]]) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(InvalidArgument):
        dump_files.unpack(archive(tmp_path, *entries), str(target))
    assert {path.name for path in tmp_path.iterdir()} == {"dump.tar", "out"}


def test_containerds_own_directory_entry_is_passed_over(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    dump_files.unpack(
        archive(tmp_path, ("./", tarfile.DIRTYPE), ("./core.img", tarfile.REGTYPE)), str(target)
    )
    assert [path.name for path in target.iterdir()] == ["core.img"]
