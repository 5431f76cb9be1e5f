"""A full disk: what is there can still be deleted."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn.errors import ResourceExhausted
from tricorn.store.db import Database
from tricorn.store.log_reserve import LogReserve
from tricorn_testing.clock import HandClock

pytestmark = pytest.mark.root
NS = "team"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(tmp_path)], check=True, timeout=30)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True, timeout=30)


def fill(path: Path) -> None:
    with (
        open(path / "full", "wb", buffering=0) as file,
        pytest.raises(OSError, match=f"Errno {errno.ENOSPC}"),
    ):
        while True:
            file.write(bytes(1 << 16))


async def test_leases_go_while_the_disk_is_full(small: Path, clock: HandClock) -> None:
    async with Database.open(str(small / "db" / "t.db"), clock) as db:
        for number in range(100):
            await db.write(lambda tx, number=number: tx.leases.create(NS, f"l{number}", {}))
        fill(small)
        for number in range(100):
            await db.write(lambda tx, number=number: tx.leases.delete(NS, f"l{number}"))
        assert await db.read(lambda tx: tx.leases.list(NS)) == []
        (small / "full").unlink()


async def test_the_reserve_ends_and_comes_back(small: Path, clock: HandClock) -> None:
    label = {"x": "y" * 4000}

    async def write_much(db: Database, until: int) -> int:
        for number in range(until):
            try:
                await db.write(lambda tx, number=number: tx.leases.create(NS, f"{until}-{number}", label))
            except ResourceExhausted:
                return number
        return until

    async with Database.open(str(small / "db" / "t.db"), clock) as db:
        await db.write(lambda tx: tx.leases.create(NS, "first", {}))
        fill(small)
        assert 10 < await write_much(db, 10_000) < 10_000
        (small / "full").unlink()
        assert await write_much(db, 10) == 10
        fill(small)
        assert await write_much(db, 20) == 20
        (small / "full").unlink()


def test_a_log_stays_as_long_as_it_is(small: Path) -> None:
    reserve = LogReserve(str(small / "log"), 1 << 20)
    reserve.renew()
    (small / "log").write_bytes(b"x")
    reserve.renew()
    status = os.stat(small / "log")
    assert (status.st_size, status.st_blocks * 512) == (1, (1 << 20) + 4096)
