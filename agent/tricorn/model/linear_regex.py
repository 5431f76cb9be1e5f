"""Regular expressions in time linear in the text, as in Go's: clients send patterns, and Python's `re`
takes exponential time on some. Groups capture nothing; there are no back references or look-around.

A pattern becomes a small machine whose possible states are followed side by side (Thompson, 1968).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any, Final

from tricorn.errors import InvalidArgument

PATTERN_LENGTH: Final = 512
STATES: Final = 1000
_REPEAT: Final = 1000  # Go's own limit
_NESTING: Final = 50

Test = Callable[[str], bool]
Fragment = tuple[int, list[tuple[int, int]]]  # first state, and the open ends (state, which arm)


class _Op(IntEnum):
    CHAR = 0
    SPLIT = 1
    ASSERT = 2
    MATCH = 3


class Pattern:
    """A compiled pattern. InvalidArgument (field `filter`) if it is malformed or too large."""

    __slots__ = ("_start", "_states", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        compiler = _Compiler(text)
        self._start = compiler.compile()
        self._states = compiler.states

    def search(self, text: str) -> bool:
        """Tell whether the pattern matches anywhere in `text`."""
        current: set[int] = set()
        for index in range(len(text) + 1):
            reached = self._closure({*current, self._start}, text, index)
            if reached is None:
                return True
            if index < len(text):
                current = self._step(reached, text[index])
        return False

    def _step(self, states: Iterable[int], char: str) -> set[int]:
        return {
            self._states[number][2]
            for number in states
            if self._states[number][0] is _Op.CHAR and self._states[number][1](char)
        }

    def _closure(self, states: set[int], text: str, index: int) -> set[int] | None:
        """Follow what consumes nothing; None when the pattern has matched."""
        seen: set[int] = set()
        pending = list(states)
        while pending:
            number = pending.pop()
            if number in seen:
                continue
            seen.add(number)
            op, argument, first, second = self._states[number]
            if op is _Op.MATCH:
                return None
            if op is _Op.SPLIT:
                pending += [first, second] if second >= 0 else [first]
            elif op is _Op.ASSERT and argument(text, index):
                pending.append(first)
        return seen


class _Compiler:
    """Recursive descent over alternation, concatenation, repetition and atoms."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.depth = 0
        self.fold = False
        self.states: list[list[Any]] = []
        if len(text) > PATTERN_LENGTH:
            raise self._bad(f"{len(text)} characters, at most {PATTERN_LENGTH}")

    def compile(self) -> int:
        if self.text.startswith("(?i)"):
            self.fold = True
            self.position = 4
        fragment = self._alternation()
        if self.position < len(self.text):
            raise self._bad("unexpected )")
        self._patch(fragment[1], self._add(_Op.MATCH))
        return fragment[0]

    # -- the machine
    def _add(self, op: _Op, argument: Any = None) -> int:
        if len(self.states) >= STATES:
            raise self._bad(f"it needs more than {STATES} states")
        self.states.append([op, argument, -1, -1])
        return len(self.states) - 1

    def _patch(self, ends: list[tuple[int, int]], target: int) -> None:
        for number, arm in ends:
            self.states[number][arm] = target

    def _single(self, op: _Op, argument: Any) -> Fragment:
        number = self._add(op, argument)
        return number, [(number, 2)]

    def _empty(self) -> Fragment:
        return self._single(_Op.SPLIT, None)

    def _join(self, first: Fragment, second: Fragment) -> Fragment:
        self._patch(first[1], second[0])
        return first[0], second[1]

    def _optional(self, fragment: Fragment) -> Fragment:
        number = self._add(_Op.SPLIT)
        self.states[number][2] = fragment[0]
        return number, [*fragment[1], (number, 3)]

    def _star(self, fragment: Fragment) -> Fragment:
        number = self._add(_Op.SPLIT)
        self.states[number][2] = fragment[0]
        self._patch(fragment[1], number)
        return number, [(number, 3)]

    # -- the syntax
    def _peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise self._bad("it ends too early")
        self.position += 1
        return char

    def _alternation(self) -> Fragment:
        result = self._concatenation()
        while self._peek() == "|":
            self.position += 1
            other = self._concatenation()
            number = self._add(_Op.SPLIT)
            self.states[number][2:] = [result[0], other[0]]
            result = number, result[1] + other[1]
        return result

    def _concatenation(self) -> Fragment:
        result = self._empty()
        while self._peek() not in {"", "|", ")"}:
            result = self._join(result, self._repetition())
        return result

    def _repetition(self) -> Fragment:
        start = self.position
        fragment = self._atom()
        end = self.position
        least, most = self._quantifier()
        if (least, most) == (1, 1):
            return fragment
        if self._peek() in {"*", "+"} or (self._peek() == "?" and self.text[self.position + 1 :][:1] == "?"):
            raise self._bad("nested repetition operator")
        after = self.position
        result = self._expand(fragment, (start, end), least, most)
        self.position = after
        return result

    def _quantifier(self) -> tuple[int, int | None]:
        char = self._peek()
        bounds: tuple[int, int | None] | None
        if char and char in "*+?":
            self.position += 1
            bounds = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        else:
            bounds = self._braces() if char == "{" else None
        if bounds is None:
            return 1, 1
        if self._peek() == "?":  # lazy: the same set of texts matches
            self.position += 1
        return bounds

    def _braces(self) -> tuple[int, int | None] | None:
        """Read {n}, {n,} or {n,m}; anything else is literal, as in Go."""
        body, brace, _ = self.text[self.position + 1 :].partition("}")
        low, comma, high = body.partition(",")
        if not brace or not low.isdecimal() or (high and not high.isdecimal()):
            return None
        least = int(low[:6])
        most = least if not comma else (int(high[:6]) if high else None)
        if least > _REPEAT or (most or 0) > _REPEAT or (most is not None and most < least):
            raise self._bad(f"invalid repeat count {{{body[:20]}}}")
        self.position += len(body) + 2
        return least, most

    def _expand(self, first: Fragment, span: tuple[int, int], least: int, most: int | None) -> Fragment:
        """Copy the repeated atom as often as the bounds say, by compiling its text again."""
        if most == 0:
            return self._empty()
        copies = [first]

        def copy() -> Fragment:
            if copies:
                return copies.pop()
            self.position = span[0]
            return self._atom()

        result = self._empty()
        for _ in range(least):
            result = self._join(result, copy())
        if most is None:
            return self._join(result, self._star(copy()))
        ends: list[tuple[int, int]] = []
        for _ in range(most - least):
            inner = self._optional(copy())
            ends.append(inner[1].pop())
            result = self._join(result, inner)
        return result[0], result[1] + ends

    def _atom(self) -> Fragment:
        char = self._take()
        if char == "(":
            return self._group()
        if char == "[":
            return self._single(_Op.CHAR, self._folded(self._class()))
        if char == ".":
            return self._single(_Op.CHAR, lambda c: c != "\n")
        if char == "\\":
            return self._escaped()
        if char in "^$":
            return self._single(_Op.ASSERT, _at_start if char == "^" else _at_end)
        if char in "*+?":
            raise self._bad(f"nothing to repeat before {char}")
        return self._single(_Op.CHAR, self._folded(_equals(char)))

    def _group(self) -> Fragment:
        self.depth += 1
        if self.depth > _NESTING:
            raise self._bad(f"groups nest deeper than {_NESTING}")
        if self._peek() == "?":
            self._group_head()
        result = self._alternation()
        if self._peek() != ")":
            raise self._bad("missing )")
        self.position += 1
        self.depth -= 1
        return result

    def _group_head(self) -> None:
        rest = self.text[self.position :]
        if rest.startswith("?:"):
            self.position += 2
        elif rest.startswith(("?P<", "?<")) and not rest.startswith(("?<=", "?<!")) and ">" in rest:
            self.position += rest.index(">") + 1
        else:
            raise self._bad("this kind of group is not supported")

    def _escaped(self) -> Fragment:
        char = self._take()
        if char in _ASSERTIONS:
            return self._single(_Op.ASSERT, _ASSERTIONS[char])
        if char in _CLASSES:
            return self._single(_Op.CHAR, _CLASSES[char])
        return self._single(_Op.CHAR, self._folded(_equals(self._literal(char))))

    def _literal(self, char: str) -> str:
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char == "x":
            digits = self._take() + self._take()
            if not all(c in "0123456789abcdefABCDEF" for c in digits):
                raise self._bad("\\x takes two hexadecimal digits")
            return chr(int(digits, 16))
        if char.isascii() and char.isalnum():
            raise self._bad(f"unknown escape \\{char}")
        return char

    def _class(self) -> Test:
        negated = self._peek() == "^"
        self.position += negated
        tests: list[Test] = []
        while self._peek() != "]" or not tests:
            tests.append(self._class_item())
        self.position += 1
        members = tuple(tests)
        if negated:
            return lambda c: not any(test(c) for test in members)
        return lambda c: any(test(c) for test in members)

    def _class_item(self) -> Test:
        name = self.text[self.position + 2 :].partition(":]")[0]
        if self._peek() == "[" and self.text[self.position + 1 :][:1] == ":" and name in _POSIX:
            self.position += len(name) + 4
            return _POSIX[name]
        char = self._take()
        if char == "\\":
            escape = self._take()
            if escape in _CLASSES:
                return _CLASSES[escape]
            char = self._literal(escape)
        if self._peek() != "-" or self.text[self.position + 1 :][:1] in {"]", ""}:
            return _equals(char)
        self.position += 1
        last = self._take()
        if last == "\\":
            last = self._literal(self._take())
        if last < char:
            raise self._bad(f"invalid range {char}-{last}")
        return _between(char, last)

    def _folded(self, test: Test) -> Test:
        if not self.fold:
            return test
        return lambda c: test(c) or test(c.lower()) or test(c.upper())

    def _bad(self, why: str) -> InvalidArgument:
        return InvalidArgument(
            f"regular expression {self.text[:200]!r} is not accepted", why=why,
            hint="use Go's syntax, without Unicode classes and with flags only as a leading (?i)",
            field="filter",
        )  # fmt: skip


def _equals(char: str) -> Test:
    return lambda c: c == char


def _between(first: str, last: str) -> Test:
    return lambda c: first <= c <= last


def _ascii(predicate: Callable[[str], bool]) -> Test:
    return lambda c: c.isascii() and predicate(c)


def _at_start(_text: str, index: int) -> bool:
    return index == 0


def _at_end(text: str, index: int) -> bool:
    return index == len(text)


def _at_word_edge(text: str, index: int) -> bool:
    before = index > 0 and _word(text[index - 1])
    after = index < len(text) and _word(text[index])
    return before != after


def _word(char: str) -> bool:
    return char == "_" or (char.isascii() and char.isalnum())


def _not(test: Test) -> Test:
    return lambda c: not test(c)


_digit: Final = _between("0", "9")
_space: Final[Test] = lambda c: c in "\t\n\f\r "  # noqa: E731 - one of a table
_CLASSES: Final[dict[str, Test]] = {
    "d": _digit, "D": _not(_digit), "w": _word, "W": _not(_word), "s": _space, "S": _not(_space),
}  # fmt: skip
_ASSERTIONS: Final[dict[str, Callable[[str, int], bool]]] = {
    "A": _at_start, "z": _at_end, "b": _at_word_edge, "B": lambda text, index: not _at_word_edge(text, index),
}  # fmt: skip
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
_POSIX: Final[dict[str, Test]] = {
    "alpha": _ascii(str.isalpha), "digit": _digit, "alnum": _ascii(str.isalnum),
    "lower": _between("a", "z"), "upper": _between("A", "Z"), "space": lambda c: c in "\t\n\v\f\r ",
    "word": _word, "xdigit": lambda c: c in "0123456789abcdefABCDEF",
    "punct": lambda c: c.isascii() and c.isprintable() and not c.isalnum() and c != " ",
}  # fmt: skip
