# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

PROGRAM = (Path(__file__).resolve().parents[4] / "roles" / "agent" / "files" / "unpack.py").read_text(encoding="utf-8")
PACKAGE = "lib/python3.11/site-packages/tricorn"


def bundle(path, *names):
    """Write a bundle with these files, which say their names."""
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(name) + 1, 0o755
            archive.addfile(member, io.BytesIO(b"#" + name.encode()))
    return path


def unpack(archive, release):
    """Run it as the role does."""
    words = [sys.executable, "-I", "-c", PROGRAM, str(archive), str(release)]
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def release(tmp_path):
    return tmp_path / "opt" / "releases" / "0.1.0-abc"


def test_a_release_is_there_whole(tmp_path, release):
    done = unpack(bundle(tmp_path / "b.tar.gz", "bin/tricornd", PACKAGE + "/app.py"), release)
    assert (done.returncode, done.stderr) == (0, "")
    assert (release / "bin" / "tricornd").read_text(encoding="utf-8") == "#bin/tricornd"
    assert (release / "complete").exists()
    assert release.stat().st_mode & 0o777 == 0o755
    (compiled,) = (release / PACKAGE / "__pycache__").iterdir()
    assert str(release).encode() in compiled.read_bytes(), "tracebacks would name a place that is gone"
    assert [each.name for each in release.parent.iterdir()] == [release.name]


def test_what_the_controller_has_compiled_is_left_alone(tmp_path, release):
    unpack(bundle(tmp_path / "b.tar.gz", PACKAGE + "/a.py", PACKAGE + "/__pycache__/b.pyc"), release)
    assert [each.name for each in (release / PACKAGE / "__pycache__").iterdir()] == ["b.pyc"]


def test_one_that_was_interrupted_is_replaced(tmp_path, release):
    for left in (release / "old", release.with_name(".%s.new" % release.name) / "old"):
        left.mkdir(parents=True)
    assert unpack(bundle(tmp_path / "b.tar.gz", PACKAGE + "/a.py"), release).returncode == 0
    assert sorted(each.name for each in release.iterdir()) == ["complete", "lib"]


def test_a_damaged_bundle_leaves_nothing(tmp_path, release):
    archive = tmp_path / "b.tar.gz"
    archive.write_bytes(bundle(archive, "bin/tricornd").read_bytes()[:-20])
    done = unpack(archive, release)
    assert done.returncode != 0
    assert "tar" in done.stderr
    assert list(release.parent.iterdir()) == []
