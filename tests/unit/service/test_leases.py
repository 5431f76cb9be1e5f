"""Leases as clients make them: when they end, and what they hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tricorn.errors import InvalidArgument, NotFound
from tricorn.model.records import LeaseResource
from tricorn.model.requests import LeaseDesired
from tricorn.rules.gc_labels import EXPIRE, parse_time
from tricorn.service.lease_states import LeaseStates
from tricorn.service.records import LeaseService, NamespaceService
from tricorn.store.db import Database
from tricorn_testing.clock import HandClock

NS = "team"


@pytest.fixture
async def leases(tmp_path: Path) -> AsyncIterator[LeaseService]:
    clock = HandClock()
    async with Database.open(str(tmp_path / "db" / "t.db"), clock) as db:
        yield LeaseService(db, clock)


@pytest.mark.parametrize(("seconds", "hours"), [(None, 24), (3600.0, 1), (0.0, None)])
async def test_when_a_lease_ends(leases: LeaseService, seconds: float | None, hours: int | None) -> None:
    made = await leases.create(NS, None, {"a": "b"}, seconds)
    assert made.labels["a"] == "b"
    assert made.created_at is not None
    expected = None if hours is None else made.created_at + timedelta(hours=hours)
    assert (parse_time(made.labels[EXPIRE]) if EXPIRE in made.labels else None) == expected
    assert await leases.get(NS, made.id) == made


@pytest.mark.parametrize("seconds", [1e12, 1e308, float(2**63)])
async def test_an_expiry_beyond_all_times_is_refused(leases: LeaseService, seconds: float) -> None:
    desired = LeaseDesired(expire_seconds=seconds)
    for make in (
        leases.create(NS, None, {}, seconds),
        LeaseStates(leases._db, HandClock()).put(NS, "a", desired),
    ):
        with pytest.raises(InvalidArgument, match="the year 9999") as caught:
            await make
        assert caught.value.field == "expire_seconds"


async def test_a_clients_own_expiry_stands(leases: LeaseService) -> None:
    label = {EXPIRE: "2030-01-01T00:00:00Z"}
    assert (await leases.create(NS, "labelled", label, None)).labels == label
    assert (await leases.create(NS, "both", label, 60.0)).labels != label


async def test_what_a_lease_holds(leases: LeaseService) -> None:
    await leases.create(NS, "l", {}, 0)
    image = LeaseResource("images", "a")
    await leases.add_resource(NS, "l", image)
    await leases.add_resource(NS, "l", image)
    assert await leases.resources(NS, "l") == [image]
    await leases.remove_resource(NS, "l", image)
    await leases.remove_resource(NS, "l", image)
    assert await leases.resources(NS, "l") == []
    for bad in (LeaseResource("content", "x"), LeaseResource("pods", "x"), LeaseResource("images", "")):
        with pytest.raises(InvalidArgument):
            await leases.add_resource(NS, "l", bad)
    for call in (leases.get(NS, "none"), leases.delete(NS, "none"), leases.resources(NS, "none")):
        with pytest.raises(NotFound):
            await call


async def test_a_budget_that_is_none_is_refused(tmp_path: Path) -> None:
    async with Database.open(str(tmp_path / "db" / "t.db"), HandClock()) as db:
        namespaces = NamespaceService(db)
        bad = {"tricorn.budget/bytes": "10g"}
        await namespaces.put("a", {"tricorn.budget/bytes": "10"})
        for call in (
            namespaces.put("a", bad), namespaces.create("b", bad), namespaces.update("a", bad),
            namespaces.replace_labels("a", bad),
        ):  # fmt: skip
            with pytest.raises(InvalidArgument):
                await call
        assert (await namespaces.update("a", {"tricorn.budget/bytes": ""})).labels == {}
