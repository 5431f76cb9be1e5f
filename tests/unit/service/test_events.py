"""Waiting for events, from one cursor to the next."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from tricorn.service.records import EventPage, EventService, NamespaceService
from tricorn.store.db import Database
from tricorn_testing.clock import HandClock

NS = "team"
WANTED = ['topic=="/wanted"']


@pytest.fixture
async def events(tmp_path: Path) -> AsyncIterator[EventService]:
    async with Database.open(str(tmp_path / "db" / "t.db"), HandClock()) as db:
        await NamespaceService(db).put(NS, {})
        yield EventService(db)


async def test_what_came_before_the_waiting_counts_by_its_cursor(events: EventService) -> None:
    before = (await events.page(NS, None)).cursor
    await events.publish(NS, "/wanted", {"n": 1})
    await events.publish(NS, "/other", {})
    page = await events.next_page(NS, before, WANTED, 10, 60)
    assert [event.event["n"] for event in page.items] == [1]
    assert await events.next_page(NS, page.cursor, WANTED, 10, 0) == EventPage((), page.cursor)


async def test_only_what_matches_ends_the_waiting(events: EventService) -> None:
    pages: list[EventPage] = []

    async def wait() -> None:
        pages.append(await events.next_page(NS, None, WANTED, 10, 60))

    async with trio.open_nursery() as nursery:
        await events.publish(NS, "/wanted", {"n": 1})
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await events.publish(NS, "/other", {})
        await trio.testing.wait_all_tasks_blocked()
        assert not pages
        await events.publish(NS, "/wanted", {"n": 2})
    assert [event.event["n"] for event in pages[0].items] == [2]


async def test_no_time_to_wait_gives_what_is_there(events: EventService) -> None:
    await events.publish(NS, "/wanted", {})
    assert len((await events.next_page(NS, 0, WANTED, 10, 0)).items) == 1
    assert (await events.next_page(NS, None, (), 10, 0)).items == ()
