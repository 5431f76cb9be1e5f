"""Letting created containers go at the FIFO where they wait."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
import trio

from tricorn.runtime.release import FIFO, follows_hooks, release


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / FIFO
    os.mkfifo(path)
    return path


def there(path: Path) -> bool:
    return path.exists()


async def test_a_process_that_reads_is_let_go(fifo: Path) -> None:
    """As crun's does, which holds its end open from the container's creation on."""
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert await release(str(fifo.parent), lambda: True)
        assert os.read(reader, 8) == b"\0"
    finally:
        os.close(reader)
    assert not there(fifo), "the runtime would tell that the container was never started"


async def test_a_process_that_writes_is_let_go(fifo: Path) -> None:
    """As runc's does, which waits in open(2) until somebody reads."""

    def wait_and_write() -> None:
        fd = os.open(fifo, os.O_WRONLY)
        os.write(fd, b"0")
        os.close(fd)

    writer = threading.Thread(target=wait_and_write)
    writer.start()
    assert await release(str(fifo.parent), lambda: True)
    await trio.to_thread.run_sync(writer.join)
    assert not there(fifo)


async def test_the_runtime_is_left_to_tell_of_a_process_that_is_gone(fifo: Path) -> None:
    assert not await release(str(fifo.parent), lambda: False)
    assert there(fifo)


async def test_runtimes_without_the_fifo_start_by_themselves(tmp_path: Path) -> None:
    assert not await release(str(tmp_path), lambda: True)


@pytest.mark.parametrize(
    ("config", "follow"),
    [
        ({}, False),
        ({"hooks": None}, False),
        ({"hooks": {"prestart": [{"path": "/x"}], "poststart": []}}, False),
        ({"hooks": {"poststart": [{"path": "/x"}]}}, True),
        ([], True),
    ],
)
def test_hooks_after_the_start_are_the_runtimes(config: object, follow: bool, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    assert follows_hooks(str(file)) is follow


def test_a_config_that_cannot_be_read_is_left_to_the_runtime(tmp_path: Path) -> None:
    assert follows_hooks(str(tmp_path / "none"))
