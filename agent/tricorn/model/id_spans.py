"""Ranges of user and group ids of the node."""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from tricorn.errors import InvalidArgument

LAST: Final = 2**31 - 1  # some programs take the numbers above for negative ones
_OWN: Final = 65536  # ids below belong to the node's users
_SPAN: Final = re.compile(r"(\d{1,10}):(\d{1,10})")


@frozen
class Span:
    """`size` ids from `first` on."""

    first: int
    size: int

    @property
    def end(self) -> int:
        return self.first + self.size

    def meets(self, other: Span) -> bool:
        return self.first < other.end and other.first < self.end


def parse_span(text: str, field: str) -> Span:
    """Read `FIRST:COUNT`. InvalidArgument for a malformed one, and for ids of the node's own users."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"the range {text[:60]!r} is malformed", hint="FIRST:COUNT", field=field)
    span = Span(int(match[1]), int(match[2]))
    if span.size < 1 or span.first < _OWN or span.end - 1 > LAST:
        raise InvalidArgument(
            f"the range {text} can't be used", why=f"ids from 65536 to {LAST} can", field=field
        )
    return span
