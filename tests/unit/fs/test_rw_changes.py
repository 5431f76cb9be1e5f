"""The rest of a layer of which most was sent before."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from tricorn.fs.rw_changes import changes, index


def pack(upper: Path, path: Path) -> None:
    """Make the layer of an upper directory without deletions in lower ones."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as layer:
        for found in sorted(upper.rglob("*")):
            layer.add(found, str(found.relative_to(upper)), recursive=False)


def names(path: Path) -> list[str]:
    with tarfile.open(path) as layer:
        return layer.getnames()


def test_nothing_changed_is_the_same_index(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("f")
    assert index(str(tmp_path)) == index(str(tmp_path))


def test_only_what_changed_is_in_the_rest_and_what_went_is_whited_out(tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    (upper / "kept/deep").mkdir(parents=True)
    (upper / "gone/deep").mkdir(parents=True)
    for name in ("same", "grows", "kept/deep/same", "gone/deep/file", "kept/removed"):
        (upper / name).write_text("before")
    before = index(str(upper))
    with open(upper / "grows", "a") as file:
        file.write(" and after")
    (upper / "new").symlink_to("same")
    for name in ("gone/deep/file", "kept/removed"):
        (upper / name).unlink()
    for name in ("gone/deep", "gone"):
        (upper / name).rmdir()
    after = index(str(upper))
    pack(upper, tmp_path / "layer")
    size = changes(str(tmp_path / "layer"), str(tmp_path / "rest"), before, after)
    assert size == (tmp_path / "rest").stat().st_size
    assert (tmp_path / "rest").stat().st_mode & 0o777 == 0o600
    assert sorted(names(tmp_path / "rest")) == [".wh.gone", "grows", "kept", "kept/.wh.removed", "new"]


def test_a_directory_that_was_opaque_before_loses_nothing(tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    (upper / "d").mkdir(parents=True)
    (upper / "d/same").write_text("same")
    before = index(str(upper))
    (upper / "d/new").write_text("new")
    (upper / "e").mkdir()
    after = index(str(upper))
    for directory in ("d", "e"):  # as the layer marks it
        (upper / directory / ".wh..wh..opq").write_text("")
    pack(upper, tmp_path / "layer")
    changes(str(tmp_path / "layer"), str(tmp_path / "rest"), before, after)
    assert sorted(names(tmp_path / "rest")) == ["d", "d/new", "e", "e/.wh..wh..opq"]


def test_a_file_in_place_of_another_is_a_change(tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    (upper / "f").write_text("one")
    before = index(str(upper))
    (upper / "f.new").write_text("two")
    os.replace(upper / "f.new", upper / "f")
    pack(upper, tmp_path / "layer")
    changes(str(tmp_path / "layer"), str(tmp_path / "rest"), before, index(str(upper)))
    assert names(tmp_path / "rest") == ["f"]
