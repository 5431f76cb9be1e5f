"""Leases of the agent's own work: gone with it, and after a crash held no longer than is of use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tricorn import limits
from tricorn.rules.gc_labels import EXPIRE, parse_time
from tricorn.service.held_lease import held_lease, shorten_left, work_labels
from tricorn.store.db import Database
from tricorn_testing.clock import HandClock

NS = "team"


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database.open(str(tmp_path / "db" / "t.db"), HandClock()) as opened:
        yield opened


async def remaining(db: Database) -> dict[str, float]:
    """Seconds until each lease expires."""
    found = await db.read(lambda tx: tx.leases.list_all())
    now = db.clock.now()
    return {lease.id: (parse_time(lease.labels[EXPIRE]) - now).total_seconds() for _, lease in found}


async def test_it_lasts_as_long_as_the_work(db: Database) -> None:
    async with held_lease(db, NS, "convert") as lease:
        assert await remaining(db) == {lease: limits.LEASE_DEFAULT_SECONDS}
    assert await remaining(db) == {}


async def test_what_a_crash_left_expires_soon(db: Database) -> None:
    now = db.clock.now()
    soon = {EXPIRE: (now + timedelta(seconds=5)).isoformat()}
    made = {
        "pull": work_labels("pull", now),
        "convert": work_labels("convert", now),
        "nearly-over": {**work_labels("pull", now), **soon},
        "for-a-recovery": work_labels("restore", now),
        "a-clients": {EXPIRE: work_labels("", now)[EXPIRE]},
    }
    for name, labels in made.items():
        await db.write(lambda tx, name=name, labels=labels: tx.leases.create(NS, name, labels))
    assert await shorten_left(db) == 2
    day = limits.LEASE_DEFAULT_SECONDS
    assert await remaining(db) == {
        "pull": limits.PULL_KEPT_SECONDS, "convert": limits.PULL_KEPT_SECONDS, "nearly-over": 5,
        "for-a-recovery": day, "a-clients": day,
    }  # fmt: skip
    assert await shorten_left(db) == 0
