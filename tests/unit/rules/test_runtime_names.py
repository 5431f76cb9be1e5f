"""Runtimes as containerd's clients name them."""

from __future__ import annotations

import pytest

from tricorn.errors import Unimplemented
from tricorn.rules.runtime_names import runtime_for

PATHS = {"runc": "/usr/sbin/runc", "crun": "/usr/bin/crun", "mine": "/opt/mine/oci"}


@pytest.mark.parametrize(
    ("name", "binary", "ours"),
    [
        ("io.containerd.runc.v2", "", ""),
        ("io.containerd.runc.v1", "", ""),
        ("io.containerd.runc.v2", "crun", "crun"),
        ("io.containerd.runc.v2", "runc", "runc"),
        ("io.containerd.runc.v2", "/usr/bin/crun", "crun"),
        ("io.containerd.runc.v2", "/opt/mine/oci", "mine"),
        ("mine", "", "mine"),
    ],
)
def test_known_ones(name: str, binary: str, ours: str) -> None:
    assert runtime_for(name, binary, PATHS) == ours


@pytest.mark.parametrize(
    ("name", "binary", "field"),
    [
        ("io.containerd.kata.v2", "", "runtime.name"),
        ("", "", "runtime.name"),
        ("io.containerd.runc.v2", "youki", "runtime.options.binary_name"),
        ("io.containerd.runc.v2", "/tmp/runc", "runtime.options.binary_name"),
        ("io.containerd.runc.v2", "./crun", "runtime.options.binary_name"),
    ],
)
def test_others_are_refused_by_what_there_is(name: str, binary: str, field: str) -> None:
    with pytest.raises(Unimplemented) as caught:
        runtime_for(name, binary, PATHS)
    assert caught.value.field == field
    assert "crun" in caught.value.hint
