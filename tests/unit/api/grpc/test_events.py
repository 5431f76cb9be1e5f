"""What a subscriber is sent, and what it is told when it was too slow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tricorn import wire
from tricorn.api.grpc.events import EventsFace
from tricorn.errors import DataLoss
from tricorn.model.records import Event
from tricorn.service import Lost

WHEN = datetime(2026, 11, 22, tzinfo=UTC)
REQUEST = wire.message("containerd.services.events.v1.SubscribeRequest")(filters=["topic"])


class Journal:
    """An event service whose stream yields what it was given; it notes how it was asked, and its end."""

    def __init__(self, *items: Any) -> None:
        self.items = items
        self.asked: tuple[Any, ...] = ()
        self.closed = False

    async def stream(self, *asked: Any) -> AsyncIterator[Any]:
        self.asked = asked
        try:
            for item in self.items:
                yield item
        finally:
            self.closed = True


def happened(namespace: str, sequence: int = 1) -> Event:
    return Event(sequence, WHEN, namespace, "/images/delete", {"name": f"{namespace}/image"})


async def subscribe(journal: Journal, *readable: str | None) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    call: Any = SimpleNamespace(may_read=readable.__contains__, send=send)
    services: Any = SimpleNamespace(events=journal)
    try:
        await EventsFace(services).subscribe(call, REQUEST)
    finally:
        assert journal.asked == (None, None, ["topic"])
        assert journal.closed
    return sent


async def test_events_come_from_where_the_peer_may_read():
    sent = await subscribe(Journal(happened("a"), happened("b"), happened(""), happened("a")), "a", None)
    assert [message.namespace for message in sent] == ["a", "", "a"]
    assert wire.unpack(sent[0].event).name == "a/image"


async def test_a_subscriber_that_was_too_slow_is_told():
    with pytest.raises(DataLoss, match="7 events were lost"):
        await subscribe(Journal(happened("a"), Lost(7), happened("a")), "a")
