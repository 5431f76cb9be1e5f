"""Specs of clients, fitted to where they run and not changed otherwise."""

from __future__ import annotations

import json

import pytest

from tricorn.errors import InvalidArgument
from tricorn.rules.client_spec import runnable_spec, wants_terminal

SPEC = {
    "ociVersion": "1.2.0",
    "process": {"args": ["true"], "terminal": True, "capabilities": {"bounding": ["CAP_KILL"]}},
    "root": {"path": "rootfs", "readonly": True},
    "linux": {"cgroupsPath": "/demo/c1", "resources": {"memory": {"limit": 2**63 - 1}}},
    "x-own": {"kept": [1, None, "ü"]},
}


def run(spec: object, rootfs: str = "/bundle/rootfs") -> dict:
    return json.loads(runnable_spec(json.dumps(spec).encode(), rootfs=rootfs, cgroup="/tricorn/n/c"))


def test_only_the_root_and_the_version_change():
    assert run(SPEC) == {**SPEC, "ociVersion": "1.0.2", "root": {"path": "/bundle/rootfs", "readonly": True}}


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("", "/tricorn/n/c"),
        (None, "/tricorn/n/c"),
        ("relative/x", "/relative/x"),
        ("system.slice:a:b", "system.slice:a:b"),
    ],
)
def test_the_control_group_is_the_clients_or_below_ours(wanted, given):
    assert run({"linux": {"cgroupsPath": wanted}})["linux"]["cgroupsPath"] == given
    assert run({})["linux"] == {"cgroupsPath": "/tricorn/n/c"}


def test_without_mounts_the_root_is_where_the_spec_says():
    assert run({"root": {"path": "/srv/root"}}, rootfs="")["root"] == {"path": "/srv/root"}
    for root in ({}, {"path": "rootfs"}, {"path": ""}, None):
        with pytest.raises(InvalidArgument, match="no root file system"):
            run({"root": root}, rootfs="")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'"x"', b'{"root": []}x', b'{"linux": "x"}'])
def test_what_is_no_spec_is_refused(text):
    with pytest.raises(InvalidArgument):
        runnable_spec(text, rootfs="/r", cgroup="/c")


def test_a_terminal_is_seen():
    assert wants_terminal(json.dumps(SPEC).encode())
    for text in (b"{}", b'{"process": null}', b"nonsense", b'{"process": []}'):
        assert not wants_terminal(text)
