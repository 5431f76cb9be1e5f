"""Small records of containers and execs that were cut, filled with zeros or written over: none ends the agent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tricorn.model.execs import KeptExec
from tricorn.model.records import ProcessIdentity
from tricorn.ports import Created
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.kept_records import read_kept, write_kept

KEPT = KeptExec(
    ("sh", "-c", "true"), "", terminal=True, stdin=False, started_at=datetime.now(UTC), log_size=5
)
NO_NUMBERS: list[Any] = [None, "5", 1.5, True, [], {}, -1, 10**40]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(str(tmp_path), "web")


@pytest.mark.parametrize("damage", [b"", bytes(30), b"\xff\xfe", b"somewhere", b"/a\n/b", b"/a\0"])
def test_a_cgroup_that_is_no_path_is_none(bundle: Bundle, damage: bytes) -> None:
    bundle.save_cgroup("/tricorn/default/web")
    assert bundle.read_cgroup() == "/tricorn/default/web"
    Path(bundle.file("cgroup")).write_bytes(damage)
    assert bundle.read_cgroup() == ""


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("damage", NO_NUMBERS, ids=repr)
def test_processes_that_are_none(bundle: Bundle, place: int, damage: Any) -> None:
    created = Created(ProcessIdentity(10, 20), ProcessIdentity(30, 40))
    bundle.save_created(created)
    assert bundle.read_created() == created
    numbers: list[Any] = [10, 20, 30, 40]
    numbers[place] = damage
    Path(bundle.file("processes")).write_text(json.dumps(numbers))
    assert bundle.read_created() is None


@pytest.mark.parametrize(
    "damage",
    [b"", bytes(30), b"\xff", b"[2147483648, 1, 2, 3]", b"5", b"null", b"{}", b"[1]", b"[1, 2, 3, 4"],
)
def test_processes_of_another_shape(bundle: Bundle, damage: bytes) -> None:
    Path(bundle.file("processes")).write_bytes(damage)
    assert bundle.read_created() is None


@pytest.mark.parametrize(
    "damage",
    [{"log_size": "x"}, {"log_size": -1}, {"log_files": None}, {"args": [1]}, {"user": None}, {"stdin": "yes"},
     {"terminal": 1}, {"started_at": "2026-01-01T00:00:00"}, {"started_at": 5}, {"more": 1}],
    ids=str,
)  # fmt: skip
def test_an_exec_that_is_not_known_again(bundle: Bundle, damage: dict[str, Any]) -> None:
    write_kept(bundle, KEPT)
    assert read_kept(bundle) == KEPT
    path = Path(bundle.file("kept.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    assert read_kept(bundle) is None
