"""crun's start and delete, done on the directory that it keeps of a container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tricorn.runtime.crun_state import forget, release

HOOK = [{"path": "/bin/true"}]


@pytest.fixture
def state(tmp_path: Path) -> str:
    (tmp_path / "status").write_text("{}")
    os.mkfifo(tmp_path / "exec.fifo")
    return str(tmp_path)


@pytest.fixture
def init(state: str) -> Iterator[int]:
    """What the container's init waits with."""
    fifo = os.open(f"{state}/exec.fifo", os.O_RDONLY | os.O_NONBLOCK)
    yield fifo
    os.close(fifo)


def test_the_waiting_init_is_told_and_the_fifo_goes(state: str, init: int) -> None:
    assert release(state, {})
    assert len(os.read(init, 8)) == 1
    assert os.listdir(state) == ["status"]


def test_without_anybody_waiting_it_is_for_crun(state: str) -> None:
    assert not release(state, {})
    assert os.path.exists(f"{state}/exec.fifo")


@pytest.mark.parametrize("kind", ["file", "link", "nothing"])
def test_what_is_no_fifo_is_left_alone(tmp_path: Path, kind: str) -> None:
    fifo, victim = tmp_path / "exec.fifo", tmp_path / "victim"
    victim.write_text("kept")
    if kind == "file":
        fifo.write_text("kept")
    elif kind == "link":
        fifo.symlink_to(victim)
    assert not release(str(tmp_path), {})
    assert victim.read_text() == "kept"
    assert kind == "nothing" or fifo.read_text() == "kept"


def test_hooks_after_the_start_are_for_crun(state: str, init: int) -> None:
    assert not release(state, {"hooks": {"poststart": HOOK}})
    assert os.read(init, 8) == b""


def test_other_hooks_are_no_hindrance(state: str, init: int) -> None:
    assert release(state, {"hooks": {"prestart": HOOK, "poststart": []}})


def test_the_directory_is_forgotten_twice(state: str) -> None:
    assert forget(state, {"linux": {}})
    assert not os.path.exists(state)
    assert forget(state, {})


@pytest.mark.parametrize(
    "config", [{"hooks": {"poststop": HOOK}}, {"linux": {"intelRdt": {"l3CacheSchema": "L3:0=f"}}}]
)
def test_what_crun_has_to_clear_up_is_for_crun(state: str, config: dict[str, Any]) -> None:
    assert not forget(state, config)
    assert sorted(os.listdir(state)) == ["exec.fifo", "status"]
