"""Which characters and positions the escapes and classes of a pattern stand for (ASCII, as in Go)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Test = Callable[[str], bool]


def equals(char: str) -> Test:
    return lambda c: c == char


def between(first: str, last: str) -> Test:
    return lambda c: first <= c <= last


def _ascii(predicate: Callable[[str], bool]) -> Test:
    return lambda c: c.isascii() and predicate(c)


def at_start(_text: str, index: int) -> bool:
    return index == 0


def at_end(text: str, index: int) -> bool:
    return index == len(text)


def at_word_edge(text: str, index: int) -> bool:
    before = index > 0 and _word(text[index - 1])
    after = index < len(text) and _word(text[index])
    return before != after


def _word(char: str) -> bool:
    return char == "_" or (char.isascii() and char.isalnum())


def _not(test: Test) -> Test:
    return lambda c: not test(c)


_digit: Final = between("0", "9")
_space: Final[Test] = lambda c: c in "\t\n\f\r "  # noqa: E731 - one of a table
CLASSES: Final[dict[str, Test]] = {
    "d": _digit, "D": _not(_digit), "w": _word, "W": _not(_word), "s": _space, "S": _not(_space),
}  # fmt: skip
ASSERTIONS: Final[dict[str, Callable[[str, int], bool]]] = {
    "A": at_start, "z": at_end, "b": at_word_edge, "B": lambda text, index: not at_word_edge(text, index),
}  # fmt: skip
CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
POSIX: Final[dict[str, Test]] = {
    "alpha": _ascii(str.isalpha), "digit": _digit, "alnum": _ascii(str.isalnum),
    "lower": between("a", "z"), "upper": between("A", "Z"), "space": lambda c: c in "\t\n\v\f\r ",
    "word": _word, "xdigit": lambda c: c in "0123456789abcdefABCDEF",
    "punct": lambda c: c.isascii() and c.isprintable() and not c.isalnum() and c != " ",
}  # fmt: skip
