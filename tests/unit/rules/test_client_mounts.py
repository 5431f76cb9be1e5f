"""Mounts of clients: what is let through as it is, and what is refused by name."""

from __future__ import annotations

import pytest

from tricorn.errors import InvalidArgument, Unimplemented
from tricorn.ports import FilesystemMount
from tricorn.rules.client_mounts import checked

OVERLAY = ("index=off", "workdir=/s/2/work", "upperdir=/s/2/fs", "lowerdir=/s/1/fs:/s/0/fs")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (("overlay", "overlay", OVERLAY), ("overlay", "overlay", OVERLAY)),
        (("bind", "/s/1/fs", ("ro", "rbind")), ("bind", "/s/1/fs", ("ro", "rbind"))),
        (("none", "/s/1/", ("bind",)), ("bind", "/s/1/", ("bind",))),
        (("", "/", ("rbind",)), ("bind", "/", ("rbind",))),
        (("tmpfs", "tmpfs", ("size=64k", "mode=755")), ("tmpfs", "tmpfs", ("size=64k", "mode=755"))),
        (("erofs", "/blob", ("ro", "loop")), ("erofs", "/blob", ("ro", "loop"))),
    ],
)
def test_well_formed_mounts_pass(given, meant):
    assert checked(*given) == FilesystemMount(*meant)


@pytest.mark.parametrize(
    "given",
    [
        ("bind", "relative", ("bind",)), ("bind", "/a/../b", ("bind",)), ("bind", "/a", ("ro",)),
        ("bind", "", ("bind",)), ("bind", "/a\0", ("bind",)), ("Overlay!", "", ()),
        ("overlay", "o", ("upperdir=x",)), ("overlay", "o", ("lowerdir=/a:b",)),
        ("overlay", "o", ("lowerdir=/a:/b/../c",)), ("overlay", "o", ("lowerdir=" + ":".join(["/a"] * 501),)),
        ("tmpfs", "t", ("size=1,mode=0",)), ("tmpfs", "t", ("a b",)), ("tmpfs", "t", ("a\n=1",)),
        ("tmpfs", "t", tuple(f"o{number}" for number in range(65))),
    ],
)  # fmt: skip
def test_malformed_ones_are_refused(given):
    with pytest.raises(InvalidArgument):
        checked(*given)


def test_what_plugins_would_make_is_not_there():
    for kind, target in (("format/overlay", ""), ("overlay", "/below")):
        with pytest.raises(Unimplemented):
            checked(kind, "x", (), target)
