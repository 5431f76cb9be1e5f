"""The checks that watch over the test session itself: they must be able to fail."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tricorn_testing import leaks, orphans
from tricorn_testing.cgroups import ROOT
from tricorn_testing.paths import unmount

_SET_CHILD_SUBREAPER = 36


@pytest.mark.root
def test_a_mount_and_a_cgroup_are_reported(tmp_path: Path) -> None:
    before = leaks.look()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(tmp_path)], check=True)
    cgroup = (
        next(path for path in (Path(ROOT, "pids"), Path(ROOT)) if path.is_dir()) / f"tct-{os.getpid()}-leak"
    )
    cgroup.mkdir()
    try:
        found = leaks.look().since(before, [str(tmp_path), cgroup.name])
        assert found == [f"mount {tmp_path}", f"cgroup {cgroup}"]
        assert leaks.look().since(before, ["/elsewhere"]) == []
    finally:
        unmount(str(tmp_path))
        cgroup.rmdir()


def test_a_process_and_a_descriptor_are_reported(tmp_path: Path) -> None:
    program = tmp_path / "conmon"
    program.symlink_to(sys.executable)
    before = leaks.look()
    code = "print(flush=True); input()"
    with (
        subprocess.Popen([program, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        tempfile.TemporaryFile(dir=tmp_path) as _,
    ):
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        found = leaks.look().since(before, [str(tmp_path)])
        process.stdin.write(b"\n")
    assert [text for text in found if text.startswith(f"process {process.pid}: {program}")]
    assert [text for text in found if text.startswith("open descriptor pipe")]
    assert leaks.look().since(before, [str(tmp_path)]) == []


def test_orphans_collected_by_a_test_are_buried() -> None:
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    script = "import os, sys; pid = os.fork(); sys.exit(0) if pid else os._exit(0)"
    subprocess.run([sys.executable, "-c", script], check=True)
    assert orphans.is_subreaper()
    orphans.stop_reaping()
    assert not orphans.is_subreaper()
