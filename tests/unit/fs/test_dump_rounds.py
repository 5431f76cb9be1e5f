"""Dumps that stand on rounds of memory: their links are ours, and lead nowhere else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tricorn.errors import InvalidArgument
from tricorn.fs import dump_files, dump_rounds
from tricorn.private_directories import make_directory


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """One that stands on two rounds."""
    made = tmp_path / "dump"
    for path in (made, tmp_path / "rounds/1", tmp_path / "rounds/2"):
        make_directory(str(path))
        (path / "pages-1.img").write_bytes(b"p")
        (path / "pagemap-1.img").write_bytes(b"m")
    (made / "core-1.img").write_bytes(b"c")
    dump_rounds.join(str(made), str(tmp_path / "rounds"), 2)
    return made


def test_criu_finds_them_wherever_the_dump_lies(dump: Path, tmp_path: Path) -> None:
    assert sorted(dump_rounds.check_dump(str(dump), 2)) == ["core-1.img", "pagemap-1.img", "pages-1.img"]
    moved = dump.rename(tmp_path / "elsewhere")
    assert (moved / "parent").resolve() == moved / "rounds/2"
    assert (moved / "parent/parent").resolve() == moved / "rounds/1"
    assert not os.path.lexists(moved / "parent/parent/parent")


def test_without_rounds_none_may_be_there(dump: Path) -> None:
    for rounds in (0, 1, 3):
        with pytest.raises(InvalidArgument):
            dump_rounds.check_dump(str(dump), rounds)


def _link(place: str, target: str) -> Callable[[Path], None]:
    def act(dump: Path) -> None:
        path = dump / place
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.symlink_to(target)

    return act


@pytest.mark.parametrize(
    "act",
    [
        _link("parent", "/etc"), _link("parent", "rounds/1"), _link("parent", "../../etc"), _link("parent", "rounds"),
        _link("rounds/2/parent", "../2"), _link("rounds/2/parent", "/etc"), _link("rounds/1/parent", "../2"),
        _link("rounds/1", "/etc"), _link("rounds", "/etc"), _link("rounds/1/pages-1.img", "/etc/shadow"),
        _link("pages-1.img", "/etc/shadow"), _link("rounds/2/rounds", "/etc"),
        lambda dump: (dump / "rounds/3").mkdir(),
        lambda dump: (dump / "rounds/1/sub").mkdir(),
        lambda dump: (dump / "rounds/1/core-1.img").touch(),
        lambda dump: (dump / "rounds/x").touch(),
        lambda dump: (dump / "rounds/1/pages-2.img").hardlink_to(dump / "core-1.img"),
        lambda dump: (dump / "parent").unlink(),
        lambda dump: ((dump / "parent").unlink(), (dump / "parent").mkdir()),
    ],
)  # fmt: skip
def test_what_leads_elsewhere_is_refused(dump: Path, act: Callable[[Path], object]) -> None:
    act(dump)
    with pytest.raises(InvalidArgument):
        dump_rounds.check_dump(str(dump), 2)


@pytest.mark.parametrize("name", ["parent", "rounds"])
def test_a_dump_that_has_the_names_itself_is_refused(tmp_path: Path, name: str) -> None:
    for path in (tmp_path / "dump", tmp_path / "rounds/1"):
        path.mkdir(parents=True)
    (tmp_path / "dump" / name).write_bytes(b"x")
    with pytest.raises(InvalidArgument):
        dump_rounds.join(str(tmp_path / "dump"), str(tmp_path / "rounds"), 1)


@pytest.mark.root
def test_the_group_of_a_user_namespace_may_read_all_of_it(dump: Path) -> None:
    outside = dump.parent.stat()
    dump_rounds.check_dump(str(dump), 2)
    dump_files.let_in(str(dump), 12345)
    for path in (dump, dump / "rounds", dump / "rounds/1", dump / "rounds/2"):
        assert path.stat().st_gid == 12345
        assert path.stat().st_mode & 0o7777 == (0o710 if path == dump else 0o750)  # CRIU reads those
    for path in (dump / "core-1.img", dump / "rounds/2/pages-1.img"):
        assert (path.stat().st_gid, path.stat().st_mode & 0o777) == (12345, 0o640)
    assert dump.parent.stat() == outside


def test_criu_s_own_link_is_neither_closed_up_nor_sent(tmp_path: Path) -> None:
    from tricorn.fs.dump_transfer import DumpUpload

    (tmp_path / "round-1").mkdir(mode=0o755)
    (tmp_path / "images").mkdir()
    (tmp_path / "images/pages-1.img").write_bytes(b"pages")
    (tmp_path / "images/parent").symlink_to("../round-1")
    assert dump_files.close_up(str(tmp_path / "images")) == 5
    assert (tmp_path / "round-1").stat().st_mode & 0o777 == 0o755
    assert DumpUpload(str(tmp_path / "images"), lambda _: None).length == 8 + len('[["pages-1.img",5]]') + 5
