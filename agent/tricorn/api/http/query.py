"""Typed query parameters: declared per route, parsed strictly, unknown ones refused by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

from attrs import frozen

from tricorn.errors import InvalidArgument
from tricorn.structuring import structure

Kind = Literal["text", "texts", "number", "integer", "flag", "time"]
_PARAMETERS: Final = 100
_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}


@frozen
class Query:
    """One parameter. `texts` may be repeated; the others not. `integer` is never negative."""

    name: str
    kind: Kind = "text"
    summary: str = ""
    default: Any = None
    choices: tuple[str, ...] = ()
    required: bool = False


FILTER: Final = Query(
    "filter", "texts", "containerd filter expression; repeated ones are joined by or", default=()
)
PLAN: Final = Query("plan", "flag", "tell what would be done, and do nothing", default=False)
DETACH: Final = Query("detach", "flag", "the work goes on when the client leaves", default=False)


def parse_query(raw: str, declared: Sequence[Query]) -> dict[str, Any]:
    """Return every declared parameter's value; raise InvalidArgument naming a wrong or unknown one."""
    known = {query.name: query for query in declared}
    values: dict[str, Any] = {query.name: query.default for query in declared}
    seen: set[str] = set()
    for name, text in _pairs(raw):
        query = known.get(name)
        if query is None:
            raise _unknown(name, known)
        if query.kind == "texts":
            values[name] = (*values[name], text)
        elif name in seen:
            raise InvalidArgument(f"query parameter {name!r} is given twice", field=name)
        else:
            values[name] = _value(query, text)
        seen.add(name)
    for query in declared:
        if query.required and query.name not in seen:
            raise InvalidArgument(
                f"query parameter {query.name!r} is missing", why=query.summary, field=query.name
            )
    return values


def _pairs(raw: str) -> list[tuple[str, str]]:
    if not raw:
        return []
    try:
        return parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=_PARAMETERS)
    except ValueError as error:  # UnicodeDecodeError is one
        raise InvalidArgument("the query is malformed", why=str(error)[:200]) from None


def _unknown(name: str, known: Mapping[str, Query]) -> InvalidArgument:
    hint = f"known parameters: {', '.join(sorted(known))}" if known else "this call takes none"
    return InvalidArgument(f"unknown query parameter {name[:100]!r}", hint=hint, field=name[:100])


def _value(query: Query, text: str) -> Any:
    match query.kind:
        case "flag":
            return _flag(query.name, text)
        case "integer":
            return _integer(query.name, text)
        case "number":
            return _number(query.name, text)
        case "time":
            return _time(query.name, text)
        case _:
            if query.choices and text not in query.choices:
                raise _bad(query.name, text, f"one of {', '.join(query.choices)}")
            return text


def _flag(name: str, text: str) -> bool:
    value = _FLAGS.get(text)
    if value is None:
        raise _bad(name, text, "true or false")
    return value


def _integer(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise _bad(name, text, "a whole number, 0 or more")
    return int(text)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise _bad(name, text, "a number, 0 or more")
    return value


def _time(name: str, text: str) -> datetime:
    try:
        return structure(text, datetime, "the query")
    except InvalidArgument as error:
        raise _bad(name, text, error.what.removeprefix("expected ")) from None


def _bad(name: str, text: str, wanted: str) -> InvalidArgument:
    return InvalidArgument(
        f"query parameter {name!r} is malformed", why=f"got {text[:100]!r}, expected {wanted}", field=name
    )
