"""WWW-Authenticate: the challenges of one or more header lines (RFC 9110, section 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import frozen

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME: Final = re.compile(rf"[\s,]*({_WORD})(?=\s|,|$)(?!\s*=)")
_TOKEN68: Final = re.compile(r"\s+[A-Za-z0-9._~+/-]+=*\s*(?=,|$)")
_PARAMETER: Final = re.compile(rf'[\s,]*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))')
_LENGTH: Final = 16 * 1024
_CHALLENGES: Final = 8


@frozen
class Challenge:
    """One way to authenticate: `scheme` and parameter names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(lines: Iterable[str]) -> tuple[Challenge, ...]:
    """Return the challenges in order; what can't be read ends its line. Never raises."""
    found: list[Challenge] = []
    for line in lines:
        position = 0
        text = line[:_LENGTH]
        while len(found) < _CHALLENGES and (match := _SCHEME.match(text, position)):
            parameters, position = _parameters(text, match.end())
            found.append(Challenge(match[1].lower(), parameters))
    return tuple(found)


def _parameters(text: str, position: int) -> tuple[dict[str, str], int]:
    """Read `name=value` pairs; the first of equal names counts."""
    if match := _TOKEN68.match(text, position):
        return {}, match.end()
    parameters: dict[str, str] = {}
    while match := _PARAMETER.match(text, position):
        value = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
        parameters.setdefault(match[1].lower(), value)
        position = match.end()
    return parameters, position
