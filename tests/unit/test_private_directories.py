"""Directories in parents that come and go."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tricorn.private_directories import ensure_directory, make_directory, renew_directory


def test_directories_are_made_while_their_parents_come_and_go(tmp_path: Path) -> None:
    stop = threading.Event()

    def remove() -> None:
        while not stop.is_set():
            with suppress(OSError):
                (tmp_path / "a").rmdir()

    with ThreadPoolExecutor(3) as pool:
        pool.submit(remove)
        made = [pool.submit(make_directory, str(tmp_path / f"a/{i}")) for i in range(50)]
        try:
            for one in made:
                one.result(30)
        finally:
            stop.set()
    with pytest.raises(FileExistsError):
        make_directory(str(tmp_path / "a/1"))
    ensure_directory(str(tmp_path / "a/1"))
    assert (tmp_path / "a/1").stat().st_mode & 0o777 == 0o700


def test_one_is_made_anew(tmp_path: Path) -> None:
    for _ in range(2):
        renew_directory(str(tmp_path / "a/1"))
        assert list((tmp_path / "a/1").iterdir()) == []
        (tmp_path / "a/1/file").touch()
