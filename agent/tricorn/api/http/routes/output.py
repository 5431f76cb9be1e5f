"""What routes of containers and of execs have in common: their stdio, and what they have written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from tricorn.api.http.query import Query
from tricorn.api.http.replies import Lines
from tricorn.api.http.routing import Call, Handler, Route, Shape
from tricorn.errors import FailedPrecondition, NotFound
from tricorn.model.requests import LogLine
from tricorn.rules.authorise import Role

STATE = (NotFound, FailedPrecondition)
_QUERY = (
    Query("follow", "flag", "go on until it ends", default=False),
    Query("tail", "integer", "only so many lines from the end"),
    Query("since", "time", "only lines from this time on"),
    Query("until", "time", "only lines up to this time; with follow, go on until then"),
)


def lines_of(call: Call, logs: Callable[..., AsyncIterator[LogLine]], *where: str) -> Lines:
    """Return what a call by `log_route` asks for: what a service's `logs` yields for the thing at `where`."""
    query = call.query
    choice = {name: query[name] for name in ("follow", "tail", "since", "until")}
    return Lines(aiter(logs(*where, **choice)))


def log_route(one: str, handler: Handler) -> Route:
    """Return the route of what the thing at `one` has written."""
    return Route(
        "GET",
        f"{one}/logs",
        handler,
        "What it has written",
        LogLine,
        Shape.LINES,
        query=_QUERY,
        endless=True,
        errors=STATE,
    )


def attach_route(one: str, handler: Handler, choice: Query) -> Route:
    """Return the route to the stdio of the thing at `one`: it hands out stdin, which is more than reading,
    although it is a GET.
    """
    return Route(
        "GET",
        f"{one}/attach",
        handler,
        "Its own stdio over the frame protocol",
        None,
        Shape.UPGRADE,
        query=(choice,),
        role=Role.OPERATE,
        endless=True,
        upgradable=True,
        errors=STATE,
    )
