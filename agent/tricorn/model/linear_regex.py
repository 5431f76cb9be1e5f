"""Regular expressions in time linear in the text, as in Go's: clients send patterns, and Python's `re`
takes exponential time on some. Groups capture nothing; there are no back references or look-around.

A pattern becomes a small machine whose possible states are followed side by side (Thompson, 1968).
"""

from __future__ import annotations

from collections.abc import Iterable

from tricorn.model.regex_compiler import Compiler, Op


class Pattern:
    """A compiled pattern. InvalidArgument (field `filter`) if it is malformed or too large."""

    __slots__ = ("_start", "_states", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        compiler = Compiler(text)
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
            if self._states[number][0] is Op.CHAR and self._states[number][1](char)
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
            if op is Op.MATCH:
                return None
            if op is Op.SPLIT:
                pending += [first, second] if second >= 0 else [first]
            elif op is Op.ASSERT and argument(text, index):
                pending.append(first)
        return seen
