"""The scanner and parser of filter expressions; what they mean is `filters.py`'s."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NoReturn

from attrs import define, frozen

from tricorn.errors import InvalidArgument

EXPRESSION_LENGTH: Final = 4096
_FIELD: Final = re.compile(r"[A-Za-z0-9_]+")
_VALUE: Final = re.compile(r"[^\s,]+")
_SPACE: Final = re.compile(r"\s*")
_ESCAPE: Final = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\\"'/|])|x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})"
    r"|U(?P<U>[0-9a-fA-F]{8})|(?P<octal>[0-7]{3}))"
)
_SIMPLE: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Operator(StrEnum):
    EQUAL = "=="
    NOT_EQUAL = "!="
    MATCHES = "~="


@frozen
class Selector:
    path: tuple[str, ...]
    operator: Operator | None = None
    value: str = ""


def parse_selectors(text: str) -> tuple[Selector, ...]:
    """Return the selectors of one expression, none for an empty one. InvalidArgument (field `filter`)."""
    if len(text) > EXPRESSION_LENGTH:
        raise InvalidArgument(
            "filter is too long",
            why=f"{len(text)} characters, at most {EXPRESSION_LENGTH}",
            field="filter",
        )
    return _Parser(text).selectors()


@define
class _Parser:
    text: str
    position: int = 0

    def selectors(self) -> tuple[Selector, ...]:
        if not self.text.strip():
            return ()
        found = [self._selector()]
        while self._peek() == ",":
            self.position += 1
            found.append(self._selector())
        if self._peek():
            self._fail("expected a comma or the end")
        return tuple(found)

    def _selector(self) -> Selector:
        path = [self._field()]
        while self._peek() == ".":
            self.position += 1
            path.append(self._field())
        if self._peek() in {"", ","}:
            return Selector(tuple(path))
        operator = self._operator()
        return Selector(tuple(path), operator, self._value(operator))

    def _peek(self) -> str:
        """Skip white space; return the next character, "" at the end."""
        match = _SPACE.match(self.text, self.position)
        self.position = match.end() if match else self.position
        return self.text[self.position : self.position + 1]

    def _field(self) -> str:
        if self._peek() == '"':
            return self._quoted('"')
        match = _FIELD.match(self.text, self.position)
        if not match:
            self._fail("expected a field name, quoted if it isn't letters, digits and _")
        self.position = match.end()
        return match.group()

    def _operator(self) -> Operator:
        text = self.text[self.position : self.position + 2]
        try:
            operator = Operator(text)
        except ValueError:
            self._fail("expected ==, != or ~=")
        self.position += 2
        return operator

    def _value(self, operator: Operator) -> str:
        first = self._peek()
        if first == '"' or (first in {"/", "|"} and operator is Operator.MATCHES):
            return self._quoted(first)
        match = _VALUE.match(self.text, self.position)
        if not match or first in set("./|=!~"):
            self._fail("expected a value; quote it if it starts with a mark")
        self.position = match.end()
        return match.group()

    def _quoted(self, quote: str) -> str:
        self.position += 1
        parts: list[str] = []
        while True:
            char = self.text[self.position : self.position + 1]
            if char in {"", "\n"}:
                self._fail(f"expected a closing {quote}")
            if char == quote:
                self.position += 1
                return "".join(parts)
            parts.append(self._escape(quote) if char == "\\" else char)
            self.position += 0 if char == "\\" else 1

    def _escape(self, quote: str) -> str:
        match = _ESCAPE.match(self.text, self.position)
        if not match or (match["simple"] in {'"', "'", "/", "|"} and match["simple"] != quote):
            self._fail("unknown escape")
        self.position = match.end()
        if match["simple"]:
            return _SIMPLE.get(match["simple"], match["simple"])
        code = int(match["octal"], 8) if match["octal"] else int(match["x"] or match["u"] or match["U"], 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            self._fail("escape is not a character")
        return chr(code)

    def _fail(self, why: str) -> NoReturn:
        raise InvalidArgument(
            f"filter {self.text[:200]!r} is malformed",
            why=f"at character {self.position + 1}: {why}",
            hint='a filter looks like name==redis, labels."a.b"~=^v[12], or labels.role',
            field="filter",
        )
