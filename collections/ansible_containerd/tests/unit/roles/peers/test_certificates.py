# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[4] / "roles" / "peers" / "files"
NAMES = "DNS:n1,IP:fe80:0::1"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")


class Fleet:
    """An authority and a node, as the role drives them."""

    def __init__(self, directory):
        self.authority, self.node = directory / "authority", directory / "node"
        self.ca = self.run("authority.py", "make", self.authority)

    def run(self, program, *words, given=""):
        command = [sys.executable, "-I", str(FILES / program), *map(str, words)]
        return subprocess.run(command, input=given, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout

    def look(self, names=NAMES, days=30, verb="look"):
        return json.loads(self.run("identity.py", verb, self.node, names, days, given=self.ca))

    def issue(self, days=365):
        certificate = self.run("authority.py", "sign", self.authority, days, NAMES, given=self.look()["request"])
        self.run("identity.py", "put", self.node, given=json.dumps({"ca": self.ca, "certificate": certificate}))


@pytest.fixture
def fleet(tmp_path):
    return Fleet(tmp_path)


def test_a_node_gets_a_certificate_once(fleet):
    assert fleet.look(verb="check") == {"reason": "there is none", "request": ""}
    assert not fleet.node.exists()
    fleet.issue()
    assert fleet.look() == {"reason": "", "request": ""}
    assert {file.name: file.stat().st_mode & 0o777 for file in fleet.node.iterdir()} == {
        "ca.crt": 0o644, "node.crt": 0o644, "node.key": 0o600,
    }
    assert (fleet.authority.stat().st_mode & 0o777, (fleet.authority / "ca.key").stat().st_mode & 0o777) == (
        0o700, 0o600,
    )


def test_it_is_renewed_when_it_has_to_be(fleet):
    fleet.issue(days=20)
    assert fleet.look()["reason"] == "it ends soon"
    key = (fleet.node / "node.key").read_text()
    fleet.issue()
    assert (fleet.node / "node.key").read_text() == key
    assert fleet.look("DNS:n2,IP:fe80::1")["reason"] == "the node has other names"
    (fleet.node / "ca.crt").unlink()
    assert "authority" in fleet.look()["reason"]
    fleet.issue()
    shutil.rmtree(fleet.authority)
    fleet.ca = fleet.run("authority.py", "make", fleet.authority)
    assert fleet.look()["reason"] == "another authority issued it"


def test_an_authority_stays_as_it_is_and_nobody_looks_one_up_into_being(fleet, tmp_path):
    assert fleet.run("authority.py", "make", fleet.authority) == fleet.ca
    assert fleet.run("authority.py", "look", tmp_path / "none") == ""
    assert not (tmp_path / "none").exists()
