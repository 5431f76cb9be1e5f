"""What is said of an object's fate, and that it comes true: against the mark itself, moment by moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tricorn.rules.reach import Graph, Kind, Node, Object, mark, next_expiry
from tricorn.rules.reasons import Keeper, fate

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
GC = "containerd.io/gc."
INSTANT = timedelta(microseconds=1)


def at(hours: float) -> datetime:
    return NOW + timedelta(hours=hours)


def node(text: str, namespace: str = "n") -> Node:
    kind, _, key = text.partition(":")
    return Node(Kind(kind), namespace, key)


def thing(
    text: str, *targets: str, expires_at: datetime | None = None, pinned: str = "", **labels: str
) -> Object:
    named = {GC + key.replace("__", "."): value for key, value in labels.items()}
    return Object(node(text), named, tuple(map(node, targets)), expires_at, pinned)


def test_all_keepers_are_named_with_their_ends() -> None:
    graph = Graph.of(
        [
            thing("image:a", "content:m"),
            thing("image:b", "content:m", expire=at(2).isoformat()),
            thing("image:gone", "content:m", expire=at(-2).isoformat()),
            thing("lease:l", "content:layer", expire=at(1).isoformat()),
            thing("lease:other", "content:x"),
            thing("content:m", ref__content__l__0="layer"),
            thing("content:layer"),
            thing("content:x"),
        ]
    )
    told = fate(graph, node("content:layer"), NOW)
    assert set(told.keepers) == {
        Keeper(node("image:a"), "images are kept until deleted", None),
        Keeper(node("image:b"), "the image expires at 2026-11-20T14:00:00Z", at(2)),
        Keeper(node("lease:l"), "the lease expires at 2026-11-20T13:00:00Z", at(1)),
    }
    assert told.kept
    assert told.until is None
    assert told.lapsed == ()
    assert told.chain[-1] == "content/layer: held by lease/l"


@pytest.mark.parametrize(
    ("objects", "until"),
    [
        ([thing("lease:l", "content:c", expire=at(1).isoformat())], at(1)),
        (
            [
                thing("lease:l", "content:c", expire=at(1).isoformat()),
                thing("image:i", "content:c", expire=at(3).isoformat()),
            ],
            at(3),
        ),
        ([thing("ingest:i", "content:c", expires_at=at(2))], at(2)),
        (
            [  # the weakest step counts
                thing("lease:l", "snapshot:o/s", expire=at(9).isoformat()),
                thing("snapshot:o/s", ref__content="c", **{"cond__value-usedat": at(-1).isoformat()}),
            ],
            at(9),
        ),
        ([thing("content:other", ref__content="c"), thing("container:x", ref__content="other")], None),
        ([thing("mount:m", pinned="mounts stay until deactivated", ref__content="c")], None),
    ],
)
def test_until(objects: list[Object], until: datetime | None) -> None:
    assert fate(Graph.of([*objects, thing("content:c")]), node("content:c"), NOW).until == until


def test_a_condition_ends_and_another_begins() -> None:
    used = thing("snapshot:o/s", root="1", **{"cond__value-usedat": at(-1).isoformat()})
    brief = thing("content:c", cond__snapshot__o="usedat<3h|s")
    graph = Graph.of([used, brief])
    assert fate(graph, node("content:c"), NOW).until == at(2)
    again = thing("content:c", cond__snapshot__o="usedat<3h|s,usedat>2h|s")
    assert fate(Graph.of([used, again]), node("content:c"), NOW).until is None


def test_what_no_longer_keeps_it() -> None:
    graph = Graph.of(
        [
            thing("content:c", bref__image="none", cond__snapshot__o="usedat<1m|s,usedat>1m|unknown"),
            thing("image:old", "content:c", expire=at(-1).isoformat()),
            thing("lease:old", "content:c", expire=at(-2).isoformat()),
            thing("content:loose", ref__content__x="c"),
            thing("snapshot:o/s", root="1", **{"cond__value-usedat": at(-1).isoformat()}),
        ]
    )
    told = fate(graph, node("content:c"), NOW)
    assert not told.kept
    assert told.keepers == ()
    assert set(told.lapsed) == {
        "image/old points to it, but expired at 2026-11-20T11:00:00Z",
        "lease/old holds it, but expired at 2026-11-20T10:00:00Z",
        f"content/loose refers by its label {GC}ref.content.x to it, but isn't kept itself",
        f"its label {GC}bref.image ties it to image/none, which doesn't exist",
        f"its condition {GC}cond.snapshot.o doesn't hold for snapshot/o/s",
        f"its condition {GC}cond.snapshot.o is on snapshot/o/unknown, whose use is unknown",
    }
    assert fate(graph, node("image:old"), NOW).lapsed == ("it expired at 2026-11-20T11:00:00Z",)
    assert fate(Graph.of([thing("content:c")]), node("content:c"), NOW).lapsed == ()


# -- random graphs
KEYS = ["a", "b", "c"]
KINDS = [
    Kind.CONTENT,
    Kind.SNAPSHOT,
    Kind.CONTAINER,
    Kind.IMAGE,
    Kind.LEASE,
    Kind.INGEST,
    Kind.MOUNT,
    Kind.STREAM,
]
times = st.integers(-3, 6).map(lambda hours: at(hours).isoformat())
values = st.sampled_from(KEYS)
nodes = st.builds(
    lambda kind, key: Node(kind, "n", f"o/{key}" if kind is Kind.SNAPSHOT else key),
    st.sampled_from(KINDS),
    st.sampled_from(KEYS),
)
label_sets = st.fixed_dictionaries(
    {},
    optional={
        GC + "ref.content": values, GC + "ref.image": values, GC + "ref.snapshot.o": values,
        GC + "ref.mount": values, GC + "ref.stream.x": values, GC + "bref.content": values,
        GC + "bref.container": values, GC + "bref.snapshot.o": values, GC + "expire": times,
        GC + "flat": st.just(""),
        GC + "cond.snapshot.o": st.sampled_from(
            ["usedat<2h|a", "usedat>2h|a", "usedat<1h|b,usedat>3h|b", "usedat<4h|c,usedat>1h|a"]
        ),
        GC + "cond.value-usedat": times,
    },
)  # fmt: skip
objects = st.builds(
    Object,
    nodes,
    label_sets,
    st.lists(nodes, max_size=2).map(tuple),
    st.none() | st.integers(-3, 6).map(at),
    st.sampled_from(["", "", "", "", "in use"]),
)


def first_moment_without(graph: Graph, wanted: Node) -> datetime | None:
    """Try every moment at which anything may change, and the one after."""
    moment = NOW
    for _ in range(200):
        if wanted not in mark(graph, moment):
            return moment
        following = next_expiry(graph, moment)
        begins = [at(hours) for hours in range(-3, 11) if at(hours) >= moment]
        upcoming = [found for found in (following, *begins) if found is not None]
        if not upcoming:
            return None
        earliest = min(upcoming)
        moment = earliest if earliest > moment else earliest + INSTANT
    raise AssertionError("there are not that many moments")


@settings(max_examples=30, deadline=None)
@given(st.lists(objects, max_size=8))
def test_the_end_that_is_told_is_the_end(things: list[Object]) -> None:
    graph = Graph.of(things)
    kept = mark(graph, NOW)
    for wanted in graph.objects:
        told = fate(graph, wanted, NOW)
        assert told.kept == (wanted in kept) == bool(told.keepers)
        if not told.kept:
            continue
        gone = first_moment_without(graph, wanted)
        if gone is None:
            assert told.until is None
        else:
            assert told.until is not None
            assert told.until <= gone <= told.until + INSTANT
        for keeper in told.keepers:
            assert keeper.node in kept
