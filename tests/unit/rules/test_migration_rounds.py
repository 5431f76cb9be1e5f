"""Rounds of memory: how many there are, and what they may consist of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.model.migrations import MigrateRequest
from tricorn.rules.migration_rounds import (
    check_files,
    check_request,
    goes_on,
    last_link,
    link_of,
    reason_against,
)

GIB = limits.GIB
SMALL = limits.MIGRATION_SMALL


@pytest.mark.parametrize(
    ("sizes", "asked", "more"),
    [
        ([], None, True), ([], 1, True), ([], 0, False),
        ([GIB], None, True), ([GIB], 1, False),
        ([GIB, GIB // 2], None, True), ([GIB, GIB // 2], 2, False),
        ([GIB, GIB * 9 // 10], None, False),  # it isn't becoming less
        ([GIB, 2 * GIB], 16, False),
        ([SMALL], None, False), ([GIB, SMALL], 16, False),  # what is left goes over at once
        ([GIB >> i for i in range(5)], None, False), ([GIB >> i for i in range(5)], 6, True),
    ],
)  # fmt: skip
def test_rounds_end_where_they_gain_little(sizes: list[int], asked: int | None, more: bool) -> None:
    assert goes_on(sizes, asked) is more


@given(st.lists(st.integers(0, 1 << 50)), st.none() | st.integers(0, limits.MIGRATION_ROUNDS))
def test_there_are_never_more_than_the_bound_and_all_together_are_bounded(
    sizes: list[int], asked: int | None
) -> None:
    made: list[int] = []
    for size in sizes:
        if not goes_on(made, asked):
            break
        made.append(size)
    assert len(made) <= limits.MIGRATION_ROUNDS
    if len(made) > 1:  # all but the last became less each time
        assert sum(made[:-1]) <= 5 * made[0]


@pytest.mark.parametrize(
    ("request_", "memory", "free", "why"),
    [
        (MigrateRequest("b"), GIB, 9 * GIB, ""),
        (MigrateRequest("b"), SMALL, 9 * GIB, "goes over at once"),
        (MigrateRequest("b", rounds=1), SMALL, 9 * GIB, ""),
        (MigrateRequest("b", rounds=0), GIB, 9 * GIB, "none were asked for"),
        (MigrateRequest("b", via="registry.example/moves"), GIB, 9 * GIB, "by a registry"),
        (MigrateRequest("b", lazy=True), GIB, 9 * GIB, ""),
        (MigrateRequest("b"), GIB, GIB, "no room"),
    ],
)  # fmt: skip
def test_why_there_are_none_is_told(request_: MigrateRequest, memory: int, free: int, why: str) -> None:
    found = reason_against(request_, memory, free)
    assert (why in found) if why else not found


@pytest.mark.parametrize(
    "request_",
    [
        MigrateRequest("b", rounds=-1), MigrateRequest("b", rounds=limits.MIGRATION_ROUNDS + 1),
        MigrateRequest("b", rounds=1, via="registry.example/moves"),
    ],
)  # fmt: skip
def test_what_there_cannot_be_is_refused(request_: MigrateRequest) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_request(request_)
    assert caught.value.field == "rounds"


def test_what_there_can_be_is_not() -> None:
    for rounds in (None, 0, 1, limits.MIGRATION_ROUNDS):
        check_request(MigrateRequest("b", rounds=rounds))
    check_request(MigrateRequest("b", rounds=0, via="registry.example/moves"))


def test_a_round_holds_pages_alone() -> None:
    check_files(["pagemap-1.img", "pages-1.img", "pagemap-shmem-77.img", "inventory.img", "stats-dump"])
    for odd in (
        "parent",
        "core-1.img",
        "mm-1.img",
        "files.img",
        "pages-1.img.x",
        "../pages-1.img",
        "rounds",
        "",
    ):
        with pytest.raises(InvalidArgument):
            check_files(["pages-1.img", odd])


def test_each_round_stands_on_the_one_before() -> None:
    assert [link_of(number) for number in (1, 2, 16)] == ["", "../1", "../15"]
    assert (last_link(0), last_link(3)) == ("", "rounds/3")
