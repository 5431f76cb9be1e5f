"""Turns a pattern's text into the states of a machine that `linear_regex.py` follows."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from tricorn.errors import InvalidArgument
from tricorn.model.regex_classes import (
    ASSERTIONS,
    CLASSES,
    CONTROLS,
    POSIX,
    Test,
    at_end,
    at_start,
    between,
    equals,
)

PATTERN_LENGTH: Final = 512
STATES: Final = 1000
_REPEAT: Final = 1000  # Go's own limit
_NESTING: Final = 50

Fragment = tuple[int, list[tuple[int, int]]]  # first state, and the open ends (state, which arm)


class Op(IntEnum):
    """What a state does; a state is [op, argument, next, other next]."""

    CHAR = 0
    SPLIT = 1
    ASSERT = 2
    MATCH = 3


class Compiler:
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
        self._patch(fragment[1], self._add(Op.MATCH))
        return fragment[0]

    # -- the machine
    def _add(self, op: Op, argument: Any = None) -> int:
        if len(self.states) >= STATES:
            raise self._bad(f"it needs more than {STATES} states")
        self.states.append([op, argument, -1, -1])
        return len(self.states) - 1

    def _patch(self, ends: list[tuple[int, int]], target: int) -> None:
        for number, arm in ends:
            self.states[number][arm] = target

    def _single(self, op: Op, argument: Any) -> Fragment:
        number = self._add(op, argument)
        return number, [(number, 2)]

    def _empty(self) -> Fragment:
        return self._single(Op.SPLIT, None)

    def _join(self, first: Fragment, second: Fragment) -> Fragment:
        self._patch(first[1], second[0])
        return first[0], second[1]

    def _optional(self, fragment: Fragment) -> Fragment:
        number = self._add(Op.SPLIT)
        self.states[number][2] = fragment[0]
        return number, [*fragment[1], (number, 3)]

    def _star(self, fragment: Fragment) -> Fragment:
        number = self._add(Op.SPLIT)
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
            number = self._add(Op.SPLIT)
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
            return self._single(Op.CHAR, self._folded(self._class()))
        if char == ".":
            return self._single(Op.CHAR, lambda c: c != "\n")
        if char == "\\":
            return self._escaped()
        if char in "^$":
            return self._single(Op.ASSERT, at_start if char == "^" else at_end)
        if char in "*+?":
            raise self._bad(f"nothing to repeat before {char}")
        return self._single(Op.CHAR, self._folded(equals(char)))

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
        if char in ASSERTIONS:
            return self._single(Op.ASSERT, ASSERTIONS[char])
        if char in CLASSES:
            return self._single(Op.CHAR, CLASSES[char])
        return self._single(Op.CHAR, self._folded(equals(self._literal(char))))

    def _literal(self, char: str) -> str:
        if char in CONTROLS:
            return CONTROLS[char]
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
        if self._peek() == "[" and self.text[self.position + 1 :][:1] == ":" and name in POSIX:
            self.position += len(name) + 4
            return POSIX[name]
        char = self._take()
        if char == "\\":
            escape = self._take()
            if escape in CLASSES:
                return CLASSES[escape]
            char = self._literal(escape)
        if self._peek() != "-" or self.text[self.position + 1 :][:1] in {"]", ""}:
            return equals(char)
        self.position += 1
        last = self._take()
        if last == "\\":
            last = self._literal(self._take())
        if last < char:
            raise self._bad(f"invalid range {char}-{last}")
        return between(char, last)

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
