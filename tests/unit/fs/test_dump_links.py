"""Where CRIU makes files of a dump, no link is on the way."""

from __future__ import annotations

from pathlib import Path

from tricorn.fs.dump_links import has_link


def test_links_on_the_way_are_seen(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/up").symlink_to("/etc")
    (tmp_path / "a/within").symlink_to("b")
    (tmp_path / "a/file").touch()
    assert not has_link(str(tmp_path), "a/b")
    assert not has_link(str(tmp_path), "a/gone/b")
    for below in ("a/up", "a/up/b", "a/within", "a/file"):
        assert has_link(str(tmp_path), below)
