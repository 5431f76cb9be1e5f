"""Which ids containers get: never two the same, gaps are filled, files of the system count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.errors import Conflict, FailedPrecondition, InvalidArgument, ResourceExhausted
from tricorn.model.id_spans import Span, parse_span
from tricorn.rules.id_ranges import free_span, granted, require_regainable

SUBUID = """\
# comment
alice:100000:65536
tricorn:1000000:131072
tricorn:3000000:65536
bob:x:1
1001:200000:65536
root:0:1
"""


def test_files_tell_whose_ids_are_whose() -> None:
    assert granted(SUBUID, ("tricorn",)) == [Span(1000000, 131072), Span(3000000, 65536)]
    assert granted(SUBUID, ("nobody", "1001")) == [Span(200000, 65536)]
    assert len(granted(SUBUID)) == 4  # neither malformed ones nor the node's root


@pytest.mark.parametrize("text", ["", "1", "x:y", "0:65536", "100:10", "100000:0", "2147483647:2", "-1:5"])
def test_bad_ranges_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_span(text, "user_namespaces.range")
    assert caught.value.field == "user_namespaces.range"


def test_gaps_are_filled_before_new_ground_is_broken() -> None:
    pools = [Span(100_000, 50)]
    taken = [Span(100_000, 10), Span(100_020, 10)]
    assert free_span(pools, taken, 10, "ids") == Span(100_010, 10)
    assert free_span(pools, [*taken, Span(100_015, 1)], 10, "ids") == Span(100_030, 10)
    with pytest.raises(ResourceExhausted, match="no 40 ids are free"):
        free_span(pools, taken, 40, "ids")


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 60)), max_size=8),
    st.lists(st.integers(1, 9), min_size=1, max_size=30),
)
def test_nobody_gets_what_another_has(others: list[tuple[int, int]], wanted: list[int]) -> None:
    pools = [Span(0, 100), Span(150, 100)]
    taken = [Span(*each) for each in others]
    for size in wanted:
        try:
            found = free_span(pools, taken, size, "ids")
        except ResourceExhausted:
            continue
        assert found.size == size
        assert not [each for each in taken if each.meets(found)]
        assert any(pool.first <= found.first and found.end <= pool.end for pool in pools)
        taken.append(found)


def test_ids_of_dumped_processes_are_given_again_only_where_the_agent_could_choose_them() -> None:
    pools, others = [Span(1000, 100)], [Span(1090, 5)]
    require_regainable([Span(1000, 50)], pools, others, [Span(1050, 10)])
    for span in (Span(990, 20), Span(1060, 50), Span(1080, 20)):
        with pytest.raises(FailedPrecondition, match="the ids"):
            require_regainable([span], pools, others, [])
    with pytest.raises(Conflict, match="1000 to 1049"):
        require_regainable([Span(1000, 50)], pools, others, [Span(1049, 1)])
