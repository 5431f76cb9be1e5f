"""How tests read what `ctr` prints, and where its FIFOs go."""

from __future__ import annotations

from pathlib import Path

import pytest

from tricorn_testing.ctr import table, with_fifos

ALIGNED = """\
CONTAINER    IMAGE                    RUNTIME
web          docker.io/library/a:1    io.containerd.runc.v2
db                                    io.containerd.runc.v2
"""


def test_columns_are_told_apart_by_their_headings() -> None:
    assert table(ALIGNED) == [
        {"CONTAINER": "web", "IMAGE": "docker.io/library/a:1", "RUNTIME": "io.containerd.runc.v2"},
        {"CONTAINER": "db", "IMAGE": "", "RUNTIME": "io.containerd.runc.v2"},
    ]
    assert table("NAME LABELS\n") == []
    assert table("") == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "-d", "image"], ["run", "--fifo-dir", "/f", "-d", "image"]),
        (["tasks", "exec", "web"], ["tasks", "exec", "--fifo-dir", "/f", "web"]),
        (["t", "start", "web"], ["t", "start", "--fifo-dir", "/f", "web"]),
        (["run", "--fifo-dir", "/g", "image"], ["run", "--fifo-dir", "/g", "image"]),
        (["tasks", "ls"], ["tasks", "ls"]),
    ],
)
def test_fifos_are_made_where_they_go_with_the_agent(words: list[str], expected: list[str]) -> None:
    assert with_fifos(words, Path("/f")) == expected
