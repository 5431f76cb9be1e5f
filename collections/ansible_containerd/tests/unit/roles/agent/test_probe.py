# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import grp
import hashlib
import importlib.util
import os
import pwd
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[4] / "roles" / "agent" / "files" / "probe.py"
RELEASE = "0.1.0-0123456789ab"
CONFIG = b'root = "/somewhere"\n'
HEALTHY = "import sys; sys.exit(sys.argv[1:] != %r)"
HERE = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture(scope="module")
def probe():
    spec = importlib.util.spec_from_file_location("tricorn_agent_probe", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def node(tmp_path, monkeypatch, probe):
    """A node that is as it is wanted, without systemd: its directory, and what is wanted of it."""
    monkeypatch.setattr(probe.os, "lstat", as_if_root(os.lstat))
    for name in ("opt/releases/" + RELEASE, "etc/hosts.d", "bin", "run", "log"):
        (tmp_path / name).mkdir(parents=True, mode=0o755)
    (tmp_path / "opt/current").symlink_to("releases/" + RELEASE)
    (tmp_path / "bin/tricorn").symlink_to(tmp_path / "opt/current/bin/tricorn")
    (tmp_path / "etc/config.toml").write_bytes(CONFIG)
    (tmp_path / "etc/config.toml").chmod(0o644)
    (tmp_path / "lock").write_text("77\n")
    (tmp_path / "run/pid").write_text("77\n")
    health = [str(tmp_path / "opt/current"), str(tmp_path), "/socket", "5"]
    return tmp_path, {
        "prefix": str(tmp_path / "opt"), "root": str(tmp_path), "packages": [], "criu": [],
        "group": grp.getgrgid(pwd.getpwnam(HERE).pw_gid).gr_name, "users": [HERE],
        "directories": [["0755", str(tmp_path / "etc/hosts.d")]],
        "files": [[hashlib.sha256(CONFIG).hexdigest(), "0644", str(tmp_path / "etc/config.toml")]],
        "absent": [str(tmp_path / "etc/hosts.d/gone.lan")],
        "links": {str(tmp_path / "bin/tricorn"): str(tmp_path / "opt/current/bin/tricorn")},
        "plain_directories": [["0755", str(tmp_path / "log")]], "pid_file": str(tmp_path / "run/pid"),
        "health": [HEALTHY % health, str(tmp_path), "/socket", "30"], "units": ["a.socket", "a.service"],
        "unit_files": [],
    }


def as_if_root(lstat):
    """Take this user for root: who runs the tests may be somebody else."""

    def answer(path):
        found = lstat(path)
        return os.stat_result((*found[:4], found[4] - os.getuid(), found[5] - os.getgid(), *found[6:]))

    return answer


def test_a_node_as_it_is_wanted_differs_in_nothing(probe, node):
    directory, wanted = node
    assert list(probe.differences(wanted, RELEASE, systemd=False)) == []


def rewrite(directory):
    (directory / "etc/config.toml").write_bytes(CONFIG + b"#")


CHANGES = {
    "content": rewrite,
    "mode": lambda directory: (directory / "etc/config.toml").chmod(0o600),
    "no file": lambda directory: (directory / "etc/config.toml").unlink(),
    "directory": lambda directory: (directory / "etc/hosts.d").chmod(0o700),
    "no directory": lambda directory: (directory / "log").rmdir(),
    "registry": lambda directory: (directory / "etc/hosts.d/gone.lan").mkdir(),
    "command": lambda directory: (directory / "bin/tricorn").unlink(),
    "release": lambda directory: (directory / "opt/current").unlink(),
    "process": lambda directory: (directory / "run/pid").write_text("78"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_is_seen(probe, node, change):
    directory, wanted = node
    CHANGES[change](directory)
    assert len(list(probe.differences(wanted, RELEASE, systemd=False))) >= 1


@pytest.mark.parametrize(
    "wish",
    [
        {"group": "no-such-group"}, {"users": ["no-such-user"]}, {"criu": ["/nowhere/criu", "sid", "controller"]},
        {"health": ["raise SystemExit(1)", "/root", "/socket", "30"]},
    ],
)
def test_whatever_else_is_wanted_is_seen(probe, node, wish):
    directory, wanted = node
    (found,) = probe.differences({**wanted, **wish}, RELEASE, systemd=False)
    assert found in {"group", "criu", "health"}


def test_a_criu_is_looked_at_and_started_only_where_it_was_made(probe, node):
    directory, wanted = node
    criu = directory / "criu"
    (criu / "bin").mkdir(parents=True)
    criu.chmod(0o755)
    (criu / "release").write_text("sid\n")
    (criu / "bin/criu").write_text("#!/bin/sh\n# network-lock\nexit 1\n")
    (criu / "bin/criu").chmod(0o755)
    assert not probe.criu_differs(str(criu), "sid", "controller")
    assert probe.criu_differs(str(criu), "trixie", "controller")
    assert probe.criu_differs(str(criu), "sid", "node")
    (criu / "bin/criu").write_text("#!/bin/sh\n# network-lock\nexit 0\n")
    assert not probe.criu_differs(str(criu), "sid", "node")


@pytest.mark.parametrize(
    ("told", "differs"),
    [
        ("UnitFileState=enabled\nActiveState=active\n\nActiveState=active\nUnitFileState=enabled\n", False),
        ("UnitFileState=enabled\nActiveState=active\n\nActiveState=active\nUnitFileState=disabled\n", True),
        ("UnitFileState=enabled\nActiveState=active\n\nActiveState=failed\nUnitFileState=enabled\n", True),
        ("UnitFileState=enabled\nActiveState=active\n", True),
        ("", True),
    ],
)
def test_units_are_to_be_enabled_and_active(probe, tmp_path, monkeypatch, told, differs):
    (tmp_path / "told").write_text(told)
    (tmp_path / "systemctl").write_text('#!/bin/sh\nexec cat "%s/told"\n' % tmp_path)
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert probe.units_differ(["a.socket", "a.service"]) is differs


def test_who_wants_nothing_is_told_no_difference(probe, tmp_path):
    found = probe.main({"prefix": str(tmp_path), "root": str(tmp_path), "packages": []})
    assert (found["current"], found["running"], found["differs"]) == ("", "", [])
