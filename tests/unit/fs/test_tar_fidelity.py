"""Trees that GNU tar packed come out as they were, whatever the format."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from tricorn_testing.tar_bytes import END, apply, member, octal, padded, pax_records, tree_state

pytestmark = pytest.mark.root


def tar(source: Path, *options: str) -> bytes:
    command = ["tar", "-c", *options, "-C", str(source), "."]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """A tree with every kind of file, owner, mode, time and name that a layer can carry."""
    root = tmp_path / "everything"
    root.mkdir(mode=0o751)
    (root / "empty").touch(mode=0o600)
    (root / "big").write_bytes(os.urandom(3_000_000))
    (root / "block").write_bytes(b"b" * 512)
    (root / "ünïcödé – name").write_text("x")
    (root / os.fsdecode(b"bytes-\xff\xfe")).write_text("x")
    (root / "with\nnewline").write_text("x")
    (root / ("n" * 255)).write_text("long")
    deep = root.joinpath(*[f"directory-{n:02}" for n in range(25)])
    deep.mkdir(parents=True)
    (deep / "file").write_text("deep")
    (root / "link-relative").symlink_to("big")
    (root / "link-absolute").symlink_to("/etc/passwd")
    (root / "link-dangling").symlink_to("x" * 300)
    os.link(root / "big", root / "hard")
    os.link(root / "link-relative", root / "hard-to-symlink")
    os.mkfifo(root / "fifo", 0o640)
    os.mknod(root / "char", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 70_000))
    (root / "sticky").mkdir()
    (root / "setgid").mkdir()
    (root / "setgid" / "inside").write_text("x")
    (root / "setgid" / "below").mkdir()
    for name, uid, gid in (("empty", 1000, 1001), ("link-relative", 5, 6), ("fifo", 7, 8), ("setgid", 0, 50)):
        os.lchown(root / name, uid, gid)
    os.chown(root / "block", 3_000_000, 4_000_000_000)
    os.chmod(root / "sticky", 0o1777)
    os.chmod(root / "setgid", 0o2775)
    os.chmod(root / "big", 0o6755)
    os.setxattr(root / "empty", "user.test", b"value\nwith\0bytes")
    os.setxattr(root / "sticky", "user.dir", b"v")
    os.setxattr(
        root / "big", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000")
    )
    for directory, names, files in os.walk(root, topdown=False):
        for name in (*files, *names):
            os.utime(
                os.path.join(directory, name),
                ns=(0, 1_600_000_000_000_000_000 + hash(name) % 10**9),
                follow_symlinks=False,
            )
    os.utime(root, (0, 1_500_000_000))
    return root


def test_pax_keeps_everything(everything, target):
    applier = apply(target, tar(everything, "--format=pax", "--xattrs", "--xattrs-include=*"), chunk=100_000)
    assert tree_state(target) == tree_state(everything)
    assert target.stat().st_mtime == 1_500_000_000
    assert applier.implied == []


def rounded(state: dict, seconds: bool = True) -> dict:
    return {name: (*row[:4], row[4] // 10**9, row[5], ()) for name, row in state.items()}


def test_gnu_format_keeps_all_but_xattrs_and_fractions(everything, target):
    apply(target, tar(everything, "--format=gnu"), chunk=65536)
    assert rounded(tree_state(target)) == rounded(tree_state(everything))


@pytest.mark.parametrize("format", ["v7", "oldgnu", "ustar", "pax", "gnu"])
def test_plain_trees_in_every_format(tmp_path, target, format):
    source = tmp_path / "plain"
    (source / "a" / ("b" * 80)).mkdir(parents=True)
    (source / "a" / "f").write_text("content")
    (source / "a" / "s").symlink_to("f")
    os.link(source / "a" / "f", source / "h")
    if format != "v7":
        (source / "a" / ("b" * 80) / ("c" * 90)).write_text("prefix")
        os.mkfifo(source / "p")
    apply(target, tar(source, f"--format={format}"))
    assert rounded(tree_state(target)) == rounded(tree_state(source))


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_sparse_files_in_pax_forms(tmp_path, target, version):
    source = tmp_path / "sparse"
    source.mkdir()
    with open(source / "file", "wb") as file:
        for offset in (1 << 20, 3 << 20, 40 << 20):
            file.seek(offset)
            file.write(os.urandom(5000))
        file.truncate(50 << 20)
    (source / "hole").touch()
    os.truncate(source / "hole", 10 << 20)
    apply(target, tar(source, "--format=pax", "--sparse", f"--sparse-version={version}"), chunk=65536)
    assert rounded(tree_state(target)) == rounded(tree_state(source))
    assert (target / "file").stat().st_blocks * 512 < 1 << 20


def test_sparse_files_in_the_old_form(tmp_path, target):
    source = tmp_path / "sparse"
    source.mkdir()
    with open(source / "file", "wb") as file:
        for index in range(60):  # more than the header and one continuation hold
            file.seek(index << 20)
            file.write(os.urandom(4096))
        file.truncate(70 << 20)
    (source / "next").write_text("next")
    apply(target, tar(source, "--format=gnu", "--sparse"), chunk=65536)
    assert rounded(tree_state(target)) == rounded(tree_state(source))


def test_v7_directories_by_their_trailing_slash(target):
    apply(
        target,
        member(b"d/", kind=b"\0", magic=b"", mode=0o755) + member(b"f", b"x", kind=b"\0", magic=b"") + END,
    )
    assert (target / "d").is_dir()
    assert (target / "f").read_bytes() == b"x"


def test_base_256_and_star_headers(target):
    big = (3_000_000).to_bytes(8, "big")
    apply(target, member(b"f", b"x", uid=b"\x80" + big[1:], magic=b"ustar  \0") + END)
    assert (target / "f").stat().st_uid == 3_000_000


def test_pax_numbers_override(target):
    records = {b"uid": b"2000000000", b"gid": b"7", b"path": b"p" * 120, b"mtime": b"12.5"}
    apply(target, pax_records(records) + member(b"ignored", b"x") + END)
    status = (target / ("p" * 120)).stat()
    assert (status.st_uid, status.st_gid, status.st_mtime_ns) == (2_000_000_000, 7, 12_500_000_000)


def test_gnu_long_names_win(target):
    long = b"d/" + b"n" * 200
    archive = member(b"././@LongLink", long + b"\0", b"L") + member(b"short", b"x")
    link = member(b"././@LongLink", b"t" * 300 + b"\0", b"K") + member(b"s", kind=b"2", link=b"short")
    apply(target, archive + link + END)
    assert (target / os.fsdecode(long)).read_bytes() == b"x"
    assert os.readlink(target / "s") == "t" * 300


def test_a_default_acl_of_a_directory_spares_what_the_layer_put_there(target):
    # user::rwx, group::r-x, mask::--- , other::---
    acl = bytes.fromhex("0200000001000700ffffffff04000500ffffffff10000000ffffffff20000000ffffffff")
    archive = pax_records({b"SCHILY.xattr.system.posix_acl_default": acl}) + member(
        b"d/", kind=b"5", mode=0o755
    )
    apply(target, archive + member(b"d/f", b"x", mode=0o664) + member(b"d/e/", kind=b"5", mode=0o775) + END)
    assert (target / "d/f").stat().st_mode & 0o777 == 0o664
    assert os.getxattr(target / "d", "system.posix_acl_default") == acl
    # A later layer writes below it: the entry's own mode still counts.
    apply(target, member(b"d/g", b"x", mode=0o664) + member(b"d/h/", kind=b"5", mode=0o777) + END)
    assert (target / "d/g").stat().st_mode & 0o777 == 0o664
    assert (target / "d/h").stat().st_mode & 0o777 == 0o777


def test_sockets_are_left_out_by_tar_and_missed_by_nobody(tmp_path, target):
    source = tmp_path / "s"
    source.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        before = os.getcwd()
        os.chdir(source)
        try:
            server.bind("sock")
        finally:
            os.chdir(before)
    apply(target, subprocess.run(["tar", "-cC", str(source), "."], check=True, capture_output=True).stdout)
    assert os.listdir(target) == []


def test_octal_and_padding_of_the_builder():
    assert octal(0o644, 8) == b"0000644\0"
    assert len(padded(b"x" * 513)) == 1024
