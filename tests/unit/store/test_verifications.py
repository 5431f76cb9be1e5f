"""What is remembered of images that passed a verification."""

from __future__ import annotations

from pathlib import Path

import pytest

from tricorn import limits
from tricorn.model.ids import Digest
from tricorn.store.db import Database
from tricorn_testing.clock import HandClock

A, B = Digest.of(b"a"), Digest.of(b"b")


async def test_name_digest_and_requirement_must_all_be_the_same(tmp_path: Path, clock: HandClock) -> None:
    async with Database.open(str(tmp_path / "t.db"), clock) as db:
        await db.write(lambda tx: tx.verifications.remember("r.example/app:1", A, "keys"))
        for name, digest, needed, passed in (
            ("r.example/app:1", A, "keys", True),
            ("r.example/app:2", A, "keys", False),
            ("r.example/app:1", B, "keys", False),
            ("r.example/app:1", A, "other keys", False),
        ):
            asked = (name, digest, needed)
            assert await db.read(lambda tx, a=asked: tx.verifications.passed(*a)) is passed
    async with Database.open(str(tmp_path / "t.db"), clock) as db:  # remembered over a restart
        assert await db.read(lambda tx: tx.verifications.passed("r.example/app:1", A, "keys"))


async def test_the_oldest_are_forgotten(
    tmp_path: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "POLICY_REMEMBERED", 3)
    async with Database.open(str(tmp_path / "t.db"), clock) as db:
        for name in "abcda":  # `a` passes once more at the end
            clock.advance(1)
            await db.write(lambda tx, n=name: tx.verifications.remember(n, A, "k"))
        left = [
            name for name in "abcd" if await db.read(lambda tx, n=name: tx.verifications.passed(n, A, "k"))
        ]
    assert left == ["a", "c", "d"]
