"""The journal: what has happened, and what happens."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tricorn import limits
from tricorn.api.http.bodies import EventList
from tricorn.api.http.query import FILTER, Query
from tricorn.api.http.replies import Lines, drawing_from
from tricorn.api.http.routing import Call, Route, Scope, Shape
from tricorn.model.records import Event


async def events(call: Call) -> object:
    query, service = call.query, call.services.events
    namespace = call.namespace or None
    if query["follow"]:
        return Lines(
            _lines(aiter(service.stream(namespace, query["since"], query["filter"])), query["limit"])
        )
    limit = min(query["limit"] or limits.EVENTS_PAGE, limits.EVENTS_PAGE)
    if query["wait"] is not None:
        page = await service.next_page(namespace, query["since"], query["filter"], limit, query["wait"])
    else:
        page = await service.page(namespace, query["since"], query["filter"], limit)
    if call.lines:
        return Lines(_page_lines(page.items, page.lost))
    return EventList(tuple(page.items), page.cursor, page.lost)


async def _lines(source: AsyncIterator[object], limit: int | None) -> AsyncIterator[object]:
    given = 0
    async with drawing_from(source):
        async for item in source:
            if not isinstance(item, Event):
                yield {"lost": getattr(item, "count", 0)}
                continue
            yield item
            given += 1
            if given == limit:
                return


async def _page_lines(items: tuple[Event, ...], lost: int) -> AsyncIterator[object]:
    if lost:
        yield {"lost": lost}
    for item in items:
        yield item


_QUERY = (
    Query(
        "since",
        "integer",
        "the cursor after which to begin; without it all that is kept, or new ones to follow or wait for",
    ),
    FILTER,
    Query("follow", "flag", "go on with what happens, as lines", default=False),
    Query("limit", "integer", "at most so many"),
    Query("wait", "number", "answer once one matches, after so many seconds at the latest"),
)
ROUTES = (
    Route(
        "GET",
        "/v1/events",
        events,
        "Events of all namespaces",
        EventList,
        Shape.PAGE,
        query=_QUERY,
        scope=Scope.NODE,
        endless=True,
    ),
    Route(
        "GET",
        "/v1/{ns}/events",
        events,
        "Events of a namespace",
        EventList,
        Shape.PAGE,
        query=_QUERY,
        endless=True,
    ),
)
