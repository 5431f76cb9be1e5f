"""Roots with hostile content: every path stays inside, and only regular files are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tricorn import limits
from tricorn.errors import InvalidArgument, NotFound, ResourceExhausted, TricornError
from tricorn.fs import beneath, syscalls
from tricorn.fs.bundle import read_account_files


@pytest.fixture
def root(target: Path, outside: Path):
    (target / "etc").mkdir()
    (target / "etc/passwd").write_text("root:x:0:0::/:\n")
    (target / "out").symlink_to(outside)
    (target / "abs").symlink_to("/etc/passwd")
    (target / "up").symlink_to("../../outside/secret")
    (target / "magic").symlink_to("/proc/self/root/etc/passwd")
    with beneath.opened_root(str(target)) as fd:
        yield fd


@pytest.mark.parametrize(
    "path", ["etc/passwd", "/etc/passwd", "abs", "../../etc/passwd", "etc/../etc/passwd"]
)
def test_paths_resolve_as_in_a_chroot(root, path):
    assert beneath.read_regular(root, path, 100) == b"root:x:0:0::/:\n"


@pytest.mark.parametrize("path", ["out/secret", "up", "magic", "missing", "etc/passwd/x", "missing/x"])
def test_what_is_not_inside_is_missing(root, path):
    assert beneath.read_regular(root, path, 100) is None


def test_beneath_refuses_to_leave(root):
    for path in ("out/secret", "abs", "up", "../x"):
        with pytest.raises(OSError, match="cross-device"):
            beneath.open_beneath(root, path, os.O_RDONLY)
    os.close(beneath.open_beneath(root, "etc/passwd", os.O_RDONLY))


def test_only_regular_files_are_read(root, target):
    os.mkfifo(target / "fifo")
    for path in ("fifo", "etc", "."):
        with pytest.raises(InvalidArgument, match="regular"):
            beneath.read_regular(root, path, 100)


@pytest.mark.root
def test_a_device_is_not_even_opened(root, target):
    os.mknod(target / "dev", 0o20666, os.makedev(1, 5))
    with pytest.raises(InvalidArgument, match="regular"):
        beneath.read_regular(root, "dev", 100)


def test_the_size_is_bounded(root, target):
    (target / "big").write_bytes(b"x" * 101)
    with pytest.raises(ResourceExhausted, match="100 bytes"):
        beneath.read_regular(root, "big", 100)
    assert beneath.read_regular(root, "big", 101) == b"x" * 101


def test_a_symlink_loop_is_told(root, target):
    (target / "l").symlink_to("l")
    with pytest.raises(InvalidArgument, match="symbolic links"):
        beneath.read_regular(root, "l", 100)


def test_directories_are_made_inside(root, target, outside):
    (target / "run").symlink_to("/var/run")
    os.close(beneath.make_directories(root, "var/run/a/b", 0o750))
    os.close(beneath.make_directories(root, "/run/a/c"))
    os.close(beneath.make_directories(root, "../up2"))
    assert sorted(os.listdir(target / "var/run/a")) == ["b", "c"]
    assert (target / "up2").is_dir()
    for path in ("out/evil", "etc/passwd/x", "n" * 256):
        with pytest.raises(TricornError):
            os.close(beneath.make_directories(root, path))


def test_account_files(target):
    assert read_account_files(str(target)) == (b"", b"")
    (target / "etc").mkdir()
    (target / "etc/group").write_text("g")
    assert read_account_files(str(target)) == (b"", b"g")
    (target / "etc/passwd").touch()
    os.truncate(target / "etc/passwd", limits.PASSWD_SIZE + 1)
    with pytest.raises(ResourceExhausted):
        read_account_files(str(target))
    with pytest.raises(NotFound):
        read_account_files(str(target / "nothing"))


def test_a_nul_is_no_path(root):
    with pytest.raises(OSError, match="null"):
        syscalls.openat2(root, b"etc\0x", os.O_RDONLY)
