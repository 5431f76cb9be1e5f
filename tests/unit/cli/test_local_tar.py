"""Tars of local files, and hostile ones that come out of containers."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn.cli.local_tar import extract, tar_of
from tricorn.errors import InvalidArgument


def hostile(*members: tuple[str, bytes, str]) -> Iterator[bytes]:
    """Yield a tar of members of a name, a type and a link's target."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = kind, link, 0o6777
            archive.addfile(member)
    yield buffer.getvalue()


def test_there_and_back(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(b"x" * 1_000_000)
    (source / "b").hardlink_to(source / "a")
    (source / "c").symlink_to("/nowhere")
    assert extract(tar_of(str(source), "top"), str(tmp_path), "copy") == 4
    assert (tmp_path / "copy/a").read_bytes() == b"x" * 1_000_000
    assert (tmp_path / "copy/b").samefile(tmp_path / "copy/a")
    assert (tmp_path / "copy/c").is_symlink()
    assert extract(tar_of(str(source), "top"), str(tmp_path), "copy") == 4


def test_who_reads_no_more_stops_who_writes(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(8_000_000))
    pieces = tar_of(str(tmp_path / "large"), "large")
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="there is no"):
        list(tar_of(str(tmp_path / "none"), "x"))


@pytest.mark.parametrize(
    "members",
    [
        [("top", tarfile.DIRTYPE, ""), ("top/../../evil", tarfile.REGTYPE, "")],
        [("top", tarfile.SYMTYPE, "{outside}"), ("top/evil", tarfile.REGTYPE, "")],
        [
            ("top", tarfile.DIRTYPE, ""),
            ("top/l", tarfile.SYMTYPE, "{outside}"),
            ("top/l/evil", tarfile.DIRTYPE, ""),
        ],
        [("top", tarfile.DIRTYPE, ""), ("top/evil", tarfile.LNKTYPE, "top/../../outside/secret")],
    ],
)
def test_nothing_is_written_elsewhere(tmp_path: Path, members: list[tuple[str, bytes, str]]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("s")
    (tmp_path / "into").mkdir()
    placed = [(name, kind, link.format(outside=outside)) for name, kind, link in members]
    with pytest.raises(InvalidArgument):
        extract(hostile(*placed), str(tmp_path / "into"), "top")
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert not list(tmp_path.rglob("evil"))


def test_no_file_gets_more_rights_than_those_of_a_file(tmp_path: Path) -> None:
    extract(hostile(("top", tarfile.REGTYPE, "")), str(tmp_path), "top")
    assert (tmp_path / "top").stat().st_mode & 0o7777 == 0o777
