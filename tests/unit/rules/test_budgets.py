"""Which budget holds, from labels and configuration."""

from __future__ import annotations

import pytest

from tricorn.errors import InvalidArgument
from tricorn.model.usage import Budget, BudgetRule
from tricorn.rules.budgets import check_labels, effective


def test_the_smaller_of_label_and_configuration_holds() -> None:
    rules = [
        BudgetRule(("team-*",), bytes=100, images=5),
        BudgetRule(("team-a", "b"), bytes=80, containers=1),
    ]
    labels = {"tricorn.budget/bytes": "90", "tricorn.budget/images": "3", "other": "1"}
    assert effective("team-a", labels, rules) == Budget(80, 3, 1)
    assert effective("team-b", labels, rules) == Budget(90, 3, None)
    assert effective("team-b", {}, rules) == Budget(100, 5, None)
    assert effective("other", {}, rules) == Budget()
    assert not effective("other", {}, rules)
    assert effective("x", {"tricorn.budget/images": "0"}, ()) == Budget(images=0)
    assert effective("x", {"tricorn.budget/images": "many"}, ()) == Budget()


@pytest.mark.parametrize(
    "labels",
    [
        {"tricorn.budget/bytes": "10g"},
        {"tricorn.budget/bytes": "-1"},
        {"tricorn.budget/containers": "1.5"},
        {"tricorn.budget/images": "9" * 40},
        {"tricorn.budget/images": "٣"},
        {"tricorn.budget/pods": "1"},
    ],
)
def test_a_malformed_label_is_refused(labels: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_labels(labels)
    assert caught.value.field == f"labels.{next(iter(labels))}"


def test_other_labels_and_removals_pass() -> None:
    check_labels({"tricorn.budget/bytes": "", "tricorn.budget/images": "12", "budget": "x"})
