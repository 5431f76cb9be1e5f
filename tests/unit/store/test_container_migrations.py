"""The journal of migrations."""

from __future__ import annotations

import pytest
from attrs import evolve

from tricorn import limits
from tricorn.errors import AlreadyExists, FailedPrecondition, NotFound
from tricorn.model.migrations import Migration, MigrationReport
from tricorn.store.transaction import Transaction

OUT = Migration("m1", "out", "default", "web", "web", "node-2", "node-2:5443", "preflight")
IN = Migration("m1", "in", "default", "web", "web", "dns:node-1", "", "accepted")


def test_a_migration_goes_the_allowed_way_and_no_other(tx: Transaction) -> None:
    made = tx.migrations.create(OUT)
    assert made.created_at == made.updated_at == tx.now
    with pytest.raises(AlreadyExists):
        tx.migrations.create(OUT)
    with pytest.raises(FailedPrecondition):
        tx.migrations.advance("out", "m1", "restore")
    moved = tx.migrations.advance("out", "m1", "seed", report=MigrationReport(image_bytes=7))
    assert (moved.state, moved.report.image_bytes) == ("seed", 7)
    assert tx.migrations.get("out", "m1") == moved
    with pytest.raises(NotFound):
        tx.migrations.get("in", "m1")


def test_both_sides_may_be_on_one_node_and_what_is_over_is_not_looked_at(tx: Transaction) -> None:
    tx.migrations.create(OUT)
    tx.migrations.create(IN)
    tx.migrations.note("in", "m1", lease="l")
    assert [(item.role, item.lease) for item in tx.migrations.list_open()] == [("in", "l"), ("out", "")]
    tx.migrations.advance("out", "m1", "failed")
    for state in ("seeded", "restoring", "running"):
        tx.migrations.advance("in", "m1", state)
    assert tx.migrations.list_open() == []
    assert len(tx.migrations.list("default")) == 2
    assert tx.migrations.list("other") == []


def test_the_oldest_are_forgotten_but_none_of_which_the_source_may_still_ask(tx: Transaction) -> None:
    tx.migrations.create(evolve(IN, id="runs", state="running"))
    for number in range(limits.MIGRATIONS_KEPT + 5):
        tx.migrations.create(evolve(IN, id=f"old-{number}", state="refused"))
    kept = {item.id for item in tx.migrations.list("default")}
    assert "runs" in kept
    assert len(kept) <= limits.MIGRATIONS_KEPT + 2
