"""Which budget holds for a namespace: the configuration's and its own labels', the smaller of each. Pure.

Labels: `tricorn.budget/bytes`, `tricorn.budget/images`, `tricorn.budget/containers`, whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Final

from attrs import evolve

from tricorn.errors import InvalidArgument
from tricorn.model.usage import Budget, BudgetRule

PREFIX: Final = "tricorn.budget/"
KINDS: Final = ("bytes", "images", "containers")
_DIGITS: Final = 18


def check_labels(labels: Mapping[str, str]) -> None:
    """InvalidArgument for a budget label that says nothing; an empty value, which removes one, is fine."""
    for key, value in labels.items():
        if not key.startswith(PREFIX) or not value:
            continue
        if key.removeprefix(PREFIX) not in KINDS:
            raise InvalidArgument(
                f"there is no budget {key!r}",
                hint=f"the labels are {', '.join(PREFIX + kind for kind in KINDS)}",
                field=f"labels.{key}",
            )
        if _number(value) is None:
            raise InvalidArgument(
                f"{value[:100]!r} isn't a budget",
                hint="write a whole number, 0 or more",
                field=f"labels.{key}",
            )


def effective(namespace: str, labels: Mapping[str, str], rules: Iterable[BudgetRule]) -> Budget:
    """Return the budget that holds. A label that isn't a number is no bound."""
    budget = Budget(**{kind: _number(labels.get(PREFIX + kind, "")) for kind in KINDS})
    for rule in rules:
        if any(fnmatchcase(namespace, pattern) for pattern in rule.namespaces):
            budget = evolve(
                budget, **{kind: _smaller(getattr(budget, kind), getattr(rule, kind)) for kind in KINDS}
            )
    return budget


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _DIGITS else None


def _smaller(one: int | None, other: int | None) -> int | None:
    given = [bound for bound in (one, other) if bound is not None]
    return min(given, default=None)
