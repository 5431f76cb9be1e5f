"""Deletions: as marks on real overlay mounts, and as removals."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tricorn.ports import FilesystemMount
from tricorn_testing.tar_bytes import END, apply, member, pax

pytestmark = pytest.mark.root

LOWER = (
    member(b"keep", b"k")
    + member(b"gone", b"g")
    + member(b"d/", kind=b"5", mode=0o755)
    + member(b"d/one", b"1")
    + member(b"d/two", b"2")
    + member(b"opaque/", kind=b"5", mode=0o755)
    + member(b"opaque/old", b"o")
    + member(b"opaque/sub/", kind=b"5", mode=0o755)
    + member(b"opaque/sub/old", b"o")
    + member(b"tree/a/b/c", b"deep")
    + END
)
UPPERS = {
    "a file": (member(b".wh.gone"), {"gone"}, set()),
    "a directory": (member(b".wh.d"), {"d", "d/one", "d/two"}, set()),
    "a file below": (member(b"d/.wh.one"), {"d/one"}, set()),
    "a deep one": (member(b"tree/a/.wh.b"), {"tree/a/b", "tree/a/b/c"}, set()),
    "nothing": (member(b".wh.nothing"), set(), set()),
    "opaque first": (
        member(b"opaque/.wh..wh..opq") + member(b"opaque/new", b"n") + member(b"opaque/sub/new", b"n"),
        {"opaque/old", "opaque/sub/old"},
        {"opaque/new", "opaque/sub/new"},
    ),
    "opaque last": (
        member(b"opaque/new", b"n") + member(b"opaque/sub/new", b"n") + member(b"opaque/.wh..wh..opq"),
        {"opaque/old", "opaque/sub/old"},
        {"opaque/new", "opaque/sub/new"},
    ),
    "replaced by a directory, mark first": (
        member(b".wh.d") + member(b"d/", kind=b"5", mode=0o755) + member(b"d/new", b"n"),
        {"d/one", "d/two"},
        {"d/new"},
    ),
    "replaced by a directory, mark last": (
        member(b"d/", kind=b"5", mode=0o755) + member(b"d/new", b"n") + member(b".wh.d"),
        {"d/one", "d/two"},
        {"d/new"},
    ),
    "replaced by a file": (member(b".wh.gone") + member(b"gone", b"new"), set(), set()),
    "a directory becomes a file": (member(b"d", b"file"), {"d/one", "d/two"}, set()),
    "a file becomes a directory": (
        member(b"gone/", kind=b"5", mode=0o755) + member(b"gone/in", b"x"),
        set(),
        {"gone/in"},
    ),
    "aufs metadata": (member(b".wh..wh.plnk/1.2", b"x") + member(b".wh..wh.aufs", b""), set(), set()),
}


def names(path: Path) -> set[str]:
    found = set()
    for directory, directories, files in os.walk(path):
        found |= {os.path.relpath(os.path.join(directory, name), path) for name in (*directories, *files)}
    return found


@pytest.mark.parametrize("case", UPPERS)
@pytest.mark.parametrize("form", ["overlay", "apply"])
def test_deletions(tmp_path, mounted, case, form):
    upper_tar, gone, new = UPPERS[case]
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    lower.mkdir()
    apply(lower, LOWER)
    before = names(lower)
    if form == "apply":
        apply(lower, upper_tar + END, "apply")
        merged = lower
    else:
        upper.mkdir()
        apply(upper, upper_tar + END, "overlay")
        item = FilesystemMount("overlay", "overlay", ("ro", f"lowerdir={upper}:{lower}"))
        merged = mounted([item], tmp_path / "merged")
    result = names(merged)
    assert result == (before - gone) | new
    if "becomes" not in case and "gone" in result:
        assert (merged / "gone").read_bytes() == (b"new" if "replaced by a file" in case else b"g")


def test_the_marks_themselves(target):
    apply(target, member(b"d/.wh.x") + member(b"d/.wh..wh..opq") + END)
    status = os.lstat(target / "d/x")
    assert stat.S_ISCHR(status.st_mode)
    assert status.st_rdev == 0
    assert os.getxattr(target / "d", "trusted.overlay.opaque") == b"y"


def test_a_root_can_be_opaque(target):
    apply(target, member(b".wh..wh..opq") + END)
    assert os.getxattr(target, "trusted.overlay.opaque") == b"y"
    apply(target, member(b"old", b"x") + END)
    apply(target, member(b"new", b"x") + member(b".wh..wh..opq") + END, "apply")
    assert os.listdir(target) == ["new"]


def test_removal_spares_a_deep_tree_of_its_own(target):
    path = b"/".join([b"d"] * 100)
    apply(target, member(path[:190] + b"/old", b"x") + END)
    long = b"/".join([b"e"] * 1200)
    apply(target, pax(path=long + b"/f") + member(b"f", b"x") + member(b".wh..wh..opq") + END, "apply")
    assert os.listdir(target) == ["e"]
