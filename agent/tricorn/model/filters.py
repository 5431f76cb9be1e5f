r"""containerd's filter expressions: `labels."x.y"==v,name~=^re`, for every list and for events.

Grammar (containerd's `pkg/filters`)::

    selectors := selector ("," selector)*        all must match
    selector  := fieldpath [operator value]      without operator: the field is present
    fieldpath := field ("." field)*
    field     := quoted | [A-Za-z0-9_]+
    operator  := "==" | "!=" | "~="
    value     := quoted | [^\s,]+
    quoted    := a Go string; for ~= also between / or |

A list of expressions matches when any of them does; an empty list or expression matches everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar

from attrs import fields_dict, frozen, has

from tricorn.model.filter_syntax import Operator, Selector, parse_selectors
from tricorn.model.linear_regex import Pattern

T = TypeVar("T")


@frozen
class _Condition:
    path: tuple[str, ...]
    operator: Operator | None
    value: str = ""
    pattern: Pattern | None = None

    def holds(self, value: str | None) -> bool:
        if self.operator is None:
            return value is not None
        if self.operator is Operator.EQUAL:
            return value == self.value
        if self.operator is Operator.NOT_EQUAL:
            return (value or "") != self.value
        assert self.pattern is not None
        return self.pattern.search(value or "")


@frozen
class Filter:
    """One parsed expression: all its conditions must hold."""

    conditions: tuple[_Condition, ...] = ()

    def matches(self, item: Any) -> bool:
        """Tell whether `item` (an attrs value or nested mappings) matches."""
        return all(condition.holds(lookup(item, condition.path)) for condition in self.conditions)


def parse(text: str) -> Filter:
    """Return the filter that `text` stands for; InvalidArgument (field `filter`) tells the place."""
    return Filter(tuple(_condition(selector) for selector in parse_selectors(text)))


def _condition(selector: Selector) -> _Condition:
    pattern = Pattern(selector.value) if selector.operator is Operator.MATCHES else None
    return _Condition(selector.path, selector.operator, selector.value, pattern)


def any_of(expressions: Sequence[str]) -> Callable[[Any], bool]:
    """Return a predicate that holds when any expression matches, always for an empty list."""
    parsed = [parse(text) for text in expressions]
    if not parsed:
        return lambda _: True
    return lambda item: any(one.matches(item) for one in parsed)


def select(expressions: Sequence[str], items: Iterable[T]) -> list[T]:
    """Return the items that any of the expressions matches, in their order."""
    if not expressions:
        return list(items)
    return list(filter(any_of(expressions), items))


def lookup(item: Any, path: Sequence[str]) -> str | None:
    """Return the text of a field, or None if it's absent or empty, as containerd's adaptors do.

    In a mapping the rest of the path is tried whole first: `labels.a.b` finds the label `a.b`. Attribute
    names also match without underscores (`target.mediatype`).
    """
    value: Any = item
    for index, name in enumerate(path):
        if isinstance(value, Mapping):
            whole = ".".join(path[index:])
            if whole in value:
                return _text(value[whole], in_mapping=True)
            value = value.get(name)
        else:
            value = _attribute(value, name)
        if value is None:
            return None
    return _text(value, in_mapping=False)


def _attribute(value: Any, name: str) -> Any:
    if not has(type(value)):
        return None
    names = fields_dict(type(value))
    for known in names:
        if name in (known, known.replace("_", "")):
            return getattr(value, known)
    return None


def _text(value: Any, *, in_mapping: bool) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (str, int, float)):
        text = str(value)
        return text if text or in_mapping else None
    return None
