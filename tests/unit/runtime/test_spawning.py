"""Programs have a file mode mask of their own, which the agent's is no part of."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tricorn.runtime import process
from tricorn.runtime.spawning import Spawner


@pytest.mark.trio
async def test_what_a_program_makes_others_may_read_and_what_we_make_they_may_not(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        done = await process.run(["/bin/mkdir", str(tmp_path / "theirs")], {}, seconds=20.0)
        (tmp_path / "ours").mkdir()
    finally:
        os.umask(before)
    assert done.code == 0
    assert (tmp_path / "theirs").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "ours").stat().st_mode & 0o777 == 0o700


def test_one_thread_calls_all_and_errors_are_the_caller_s() -> None:
    spawner = Spawner()
    (thread,) = {spawner.call(threading.get_ident) for _ in range(3)}
    assert thread != threading.get_ident()

    def fails() -> int:
        raise FileNotFoundError("no such program")

    with pytest.raises(FileNotFoundError, match="no such program"):
        spawner.call(fails)
    assert spawner.call(lambda: 7) == 7
