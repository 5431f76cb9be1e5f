"""crun's directory of a container that is gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tricorn.runtime.crun_state import forget

HOOK = [{"path": "/bin/true"}]


@pytest.fixture
def state(tmp_path: Path) -> str:
    directory = tmp_path / "state"
    directory.mkdir()
    (directory / "status").write_text("{}")
    os.mkfifo(directory / "exec.fifo")
    return str(directory)


@pytest.mark.parametrize("config", [{}, {"linux": {}}, {"hooks": {"poststart": HOOK, "poststop": []}}])
def test_the_directory_is_forgotten_and_may_be_again(state: str, config: dict[str, Any]) -> None:
    assert forget(state, config)
    assert not os.path.exists(state)
    assert forget(state, config)


@pytest.mark.parametrize(
    "config", [{"hooks": {"poststop": HOOK}}, {"linux": {"intelRdt": {"l3CacheSchema": "L3:0=f"}}}]
)
def test_what_crun_has_to_clear_up_is_for_crun(state: str, config: dict[str, Any]) -> None:
    assert not forget(state, config)
    assert sorted(os.listdir(state)) == ["exec.fifo", "status"]
