# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[4] / "roles" / "agent" / "files" / "bundle.py"
NODE = ["--python=3.11", "--interpreter=/usr/bin/python3.11", "--machine=x86_64", "--glibc=2.36", "--cache=/c"]


@pytest.fixture(scope="module")
def bundle():
    specification = importlib.util.spec_from_file_location("bundle", FILE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "agent" / "tricorn" / "__pycache__").mkdir(parents=True)
    (tmp_path / "agent" / "tricorn" / "app.py").write_text("a")
    (tmp_path / "pyproject.toml").write_text("p")
    return tmp_path


def test_platforms_are_those_that_the_c_library_can_load(bundle):
    found = bundle.platforms("aarch64", "2.19")
    assert found == [
        "manylinux_2_19_aarch64", "manylinux_2_18_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64",
        "linux_aarch64",
    ]


def test_the_key_follows_the_code_and_the_node(bundle, checkout):
    def key(*more):
        return bundle.key_of(bundle.parse(["--source=%s" % checkout, *NODE, *more]))

    first = key()
    (checkout / "agent" / "tricorn" / "__pycache__" / "app.pyc").write_text("x")
    (checkout / "README.md").write_text("x")
    assert key() == first
    assert key("--glibc=2.41") != first
    (checkout / "agent" / "tricorn" / "app.py").write_text("b")
    assert key() != first


def test_the_key_of_a_requirement_is_its_text(bundle):
    keys = {bundle.key_of(bundle.parse(["--source=tricorn==%s" % version, *NODE])) for version in "1122"}
    assert len(keys) == 2


def test_archives_tell_nothing_of_their_builder(bundle, tmp_path):
    digests = set()
    for place in (tmp_path / "a", tmp_path / "b"):
        packages = place / "lib" / "python3.11" / "site-packages"
        for name in ("tricorn", "tricorn/tests", "ansible_collections", "tricorn-1.dist-info"):
            (packages / name).mkdir(parents=True)
            (packages / name / "file").write_text("x")
        (packages / "tricorn-1.dist-info" / "direct_url.json").write_text(str(place))
        bundle.make_environment(place, "/usr/bin/python3.11")
        os.utime(packages / "tricorn" / "file", (1, len(digests)))
        bundle.pack(place, place / "out.tar.gz")
        digests.add(hashlib.sha256((place / "out.tar.gz").read_bytes()).hexdigest())
        assert bundle.version_of(packages) == "1"
    assert len(digests) == 1
    with tarfile.open(tmp_path / "a" / "out.tar.gz") as archive:
        names = [name for name in archive.getnames() if not name.endswith("out.tar.gz")]
        assert archive.getmember("bin/tricornd").mode == 0o755
    assert [name for name in names if name.endswith("/file")] == [
        "lib/python3.11/site-packages/tricorn/file", "lib/python3.11/site-packages/tricorn-1.dist-info/file",
    ]


def test_commands_run_their_release_through_links(bundle, tmp_path):
    release = tmp_path / "releases" / "1"
    (release / "lib" / ("python%d.%d" % sys.version_info[:2]) / "site-packages" / "tricorn").mkdir(parents=True)
    package = next(release.glob("lib/*/site-packages/tricorn"))
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import sys; print(sys.prefix, *sys.argv[1:])")
    bundle.make_environment(release, os.path.realpath(sys.executable))
    (tmp_path / "current").symlink_to("releases/1")
    (tmp_path / "tricornd").symlink_to(tmp_path / "current" / "bin" / "tricornd")
    done = subprocess.run([str(tmp_path / "tricornd"), "a b"], check=True, stdout=subprocess.PIPE, timeout=30)
    assert done.stdout.decode().split(" ", 1) == [str(release.resolve()), "a b\n"]


def test_old_bundles_go(bundle, tmp_path):
    for age in range(12):
        path = tmp_path / ("%d.tar.gz" % age)
        path.write_text("")
        os.utime(path, (age, age))
    bundle.drop_old(tmp_path)
    assert sorted(int(path.name.split(".")[0]) for path in tmp_path.iterdir()) == list(range(4, 12))


@pytest.fixture
def finished(bundle, tmp_path):
    """A bundle as C(build) leaves it, of one module and one library."""
    tree = tmp_path / "tree"
    packages = tree / "lib" / ("python%d.%d" % sys.version_info[:2]) / "site-packages"
    (packages / "tricorn").mkdir(parents=True)
    (packages / "tricorn" / "__init__.py").write_text("x = 1\n")
    (packages / "fast.cpython-311-x86_64-linux-gnu.so").write_bytes(b"elf")
    bundle.make_environment(tree, "/usr/bin/python3.11")
    (tree / "release").write_text("1.0.dev2+x-%s\n" % bundle.digest_of(tree))
    bundle.compile_all(tree / "lib")
    bundle.pack(tree, tmp_path / "finished.tar.gz")
    return tmp_path / "finished.tar.gz"


def described(bundle, path, *more):
    python = "--python=%d.%d" % sys.version_info[:2]
    return bundle.describe(bundle.parse(["--bundle=%s" % path, *NODE, python, *more]))


def test_a_finished_bundle_is_told_by_its_name(bundle, finished):
    found = described(bundle, finished)
    assert (found["path"], found["version"]) == (str(finished), "1.0.dev2+x")
    assert found["name"].startswith("1.0.dev2+x-")
    with tarfile.open(finished) as archive:
        assert [name for name in archive.getnames() if name.endswith(".pyc")]
    assert bundle.digest_of(finished.parent / "tree") != found["name"].rpartition("-")[2]  # with what is compiled


@pytest.mark.parametrize(
    "more, why",
    [
        (["--interpreter=/opt/python3"], "the node has /opt/python3"),
        (["--python=3.99"], "is for /usr/bin/python3.11"),
        (["--machine=aarch64"], "the node is aarch64"),
    ],
)
def test_a_bundle_for_other_nodes_is_refused(bundle, finished, more, why):
    with pytest.raises(SystemExit, match=why):
        described(bundle, finished, *more)


def test_what_is_no_bundle_is_refused(bundle, tmp_path):
    (tmp_path / "text.tar.gz").write_text("no archive")
    with pytest.raises(SystemExit, match="is no bundle of the agent"):
        described(bundle, tmp_path / "text.tar.gz")
    with tarfile.open(tmp_path / "empty.tar.gz", "w:gz"):
        pass
    with pytest.raises(SystemExit, match="names no release"):
        described(bundle, tmp_path / "empty.tar.gz")
