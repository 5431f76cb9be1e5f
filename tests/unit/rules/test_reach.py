"""Reachability against containerd's rules one by one, and against a naive fixpoint on random graphs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tricorn.rules import gc_labels
from tricorn.rules.reach import Graph, Kind, Node, Object, explain, invalid_expiries, mark, next_expiry

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PAST = "2026-11-20T11:00:00Z"
FUTURE = "2026-11-20T13:00:00Z"
GC = "containerd.io/gc."


def node(text: str, namespace: str = "n") -> Node:
    kind, _, key = text.partition(":")
    return Node(Kind(kind), namespace, key)


def thing(
    text: str, *targets: str, expires_at: datetime | None = None, pinned: str = "", **labels: str
) -> Object:
    """Labels are written without `containerd.io/gc.`, dots as double underscores."""
    named = {GC + key.replace("__", "."): value for key, value in labels.items()}
    return Object(node(text), named, tuple(map(node, targets)), expires_at, pinned)


def kept(*objects: Object, now: datetime = NOW) -> set[str]:
    return {f"{found.kind}:{found.key}" for found in mark(Graph.of(objects), now)}


def test_roots() -> None:
    assert kept(
        thing("image:a"),
        thing("container:c"),
        thing("lease:l"),
        thing("ingest:i", expires_at=NOW + timedelta(1)),
        thing("content:r", root="anything"),
        thing("snapshot:o/r", root=""),
        thing("content:loose"),
        thing("snapshot:o/loose"),
        thing("ingest:old", expires_at=NOW),
        thing("ingest:leaseless"),
    ) == {"image:a", "container:c", "lease:l", "ingest:i", "content:r", "snapshot:o/r"}


def test_typed_edges() -> None:
    assert kept(
        thing("image:a", "content:m"),
        thing("container:c", "snapshot:o/2"),
        thing("snapshot:o/2", "snapshot:o/1"),
        thing("ingest:i", "content:e", expires_at=NOW + timedelta(1)),
        *map(thing, ("content:m", "content:e", "snapshot:o/1", "snapshot:native/1", "content:x")),
    ) == {
        "image:a", "content:m", "container:c", "snapshot:o/2", "snapshot:o/1", "ingest:i", "content:e",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("label", "value", "target"),
    [
        ("ref.content", "d", "content:d"),
        ("ref.content.l.0", "d", "content:d"),
        ("ref.content/x", "d", "content:d"),
        ("ref.image", "i", "image:i"),
        ("ref.image.x", "i", "image:i"),
        ("ref.mount", "m", "mount:m"),
        ("ref.mount.x", "m", "mount:m"),
        ("ref.stream", "s", "stream:s"),
        ("ref.snapshot.overlay", "k", "snapshot:overlay/k"),
        ("ref.snapshot.overlay/2", "k", "snapshot:overlay/k"),
    ],
)
@pytest.mark.parametrize("holder", ["container:h", "content:h", "image:h", "snapshot:ss/h"])
def test_label_edges(label: str, value: str, target: str, holder: str) -> None:
    root = thing("lease:root", holder)
    objects = root, Object(node(holder), {GC + label: value}), Object(node(target), {GC + "expire": PAST})
    assert target in kept(*objects)


@pytest.mark.parametrize(
    "label", ["ref.contents", "ref.contentx", "ref.snapshot", "ref", "ref.lease", "xref.content"]
)
def test_labels_that_only_look_alike(label: str) -> None:
    assert "content:d" not in kept(Object(node("image:h"), {GC + label: "d"}), thing("content:d"))


def test_a_labels_edge_on_a_lease_is_none() -> None:
    assert "content:d" not in kept(thing("lease:l", ref__content="d"), thing("content:d"))


@pytest.mark.parametrize(
    ("label", "parent"),
    [
        ("bref.container", "container:p"),
        ("bref.content", "content:p"),
        ("bref.content.x", "content:p"),
        ("bref.image", "image:p"),
    ],
)
def test_back_references_keep_the_child_with_its_parent(label: str, parent: str) -> None:
    child = Object(node("content:child"), {GC + label: "p"})
    assert "content:child" in kept(child, thing(parent), thing("lease:l", parent))
    assert "content:child" not in kept(child)
    if parent.startswith("content"):
        assert "content:child" not in kept(child, thing(parent))


def test_back_reference_to_a_snapshot() -> None:
    child = thing("content:c", **{"bref__snapshot__overlay/x": "k"})
    assert "content:c" in kept(child, thing("snapshot:overlay/k", root="1"))
    assert "content:c" not in kept(child, thing("snapshot:native/k", root="1"))


def test_expired_leases_and_images_are_no_roots() -> None:
    assert kept(
        thing("lease:old", "content:a", expire=PAST),
        thing("lease:new", "content:b", expire=FUTURE),
        thing("lease:odd", "content:c", expire="soon"),
        thing("image:old", "content:d", expire=PAST),
        thing("image:new", "content:e", expire=FUTURE),
        *(thing(f"content:{key}", expire=PAST) for key in "abcde"),
    ) == {"lease:new", "content:b", "lease:odd", "content:c", "image:new", "content:e"}


def test_an_expired_image_can_be_kept_by_a_reference() -> None:
    objects = (
        thing("image:old", "content:d", expire=PAST),
        thing("content:d"),
        thing("image:x", ref__image="old"),
    )
    assert kept(*objects) == {"image:old", "content:d", "image:x"}


def test_expiry_is_the_moment_after() -> None:
    at = thing("image:a", expire=NOW.isoformat())
    assert kept(at) == {"image:a"}
    assert kept(at, now=NOW + timedelta(microseconds=1)) == set()


def test_a_flat_lease_holds_what_it_lists_and_typed_edges_only() -> None:
    assert kept(
        thing("lease:l", "content:m", "snapshot:o/2", "image:i", flat="1", expire=FUTURE),
        thing("content:m", ref__content="x"),
        thing("content:x"),
        thing("snapshot:o/2", "snapshot:o/1", ref__content="x"),
        thing("snapshot:o/1", ref__content="x"),
        thing("image:i", "content:t", ref__content="x", expire=PAST),
        thing("content:t", ref__content="x"),
        thing("content:child", bref__content="m"),
    ) == {"lease:l", "content:m", "snapshot:o/2", "snapshot:o/1", "image:i", "content:t"}


def test_what_is_reached_flat_and_fully_is_kept_fully() -> None:
    objects = (
        thing("lease:flat", "content:m", flat="1"), thing("lease:full", "content:m"),
        thing("content:m", ref__content="x"), thing("content:x"),
    )  # fmt: skip
    assert "content:x" in kept(*objects)
    assert "content:x" in kept(*reversed(objects))


@pytest.mark.parametrize(
    ("condition", "age_hours", "holds"),
    [
        ("usedat<24h|k", 1, True),
        ("usedat<24h|k", 25, False),
        ("usedat>24h|k", 25, True),
        ("usedat>24h|k", 1, False),
        ("usedat>24h|other,usedat<2h|k", 1, True),
        ("usedat=24h|k", 1, False),
        ("usedat<nonsense|k", 1, False),
        ("used<24h|k", 1, False),
    ],
)
@pytest.mark.parametrize("kind", ["content", "image"])
def test_conditions_on_a_snapshots_use(condition: str, age_hours: int, holds: bool, kind: str) -> None:
    used = (NOW - timedelta(hours=age_hours)).isoformat()
    snapshot = thing("snapshot:overlay/k", "snapshot:overlay/base", root="1", **{"cond__value-usedat": used})
    conditioned = thing(f"{kind}:c", cond__snapshot__overlay=condition, expire=PAST)
    assert (f"{kind}:c" in kept(snapshot, conditioned)) is holds
    assert f"{kind}:c" not in kept(conditioned)


def test_conditions_on_other_kinds_are_none() -> None:
    snapshot = thing("snapshot:overlay/k", root="1", **{"cond__value-usedat": PAST})
    other = thing("snapshot:overlay/x", cond__snapshot__overlay="usedat<24h|k")
    assert "snapshot:overlay/x" not in kept(snapshot, other)


def test_edges_stay_in_their_namespace() -> None:
    other = Object(Node(Kind.CONTENT, "other", "d"))
    assert kept(thing("image:a", "content:d", ref__content="d"), other) == {"image:a"}


def test_dead_edges_and_cycles() -> None:
    assert kept(
        thing("image:a", "content:gone", ref__content="b"),
        thing("content:b", ref__content="c"),
        thing("content:c", ref__content="b"),
        thing("content:child-of-gone", bref__content="gone"),
        thing("content:d", ref__content="e"),
        thing("content:e", ref__content="d"),
    ) == {"image:a", "content:b", "content:c"}


def test_mounts_and_streams_are_kept_by_what_names_them_only() -> None:
    assert kept(
        thing("lease:l", "mount:leased"),
        thing("mount:leased", ref__snapshot__o="below"),
        thing("snapshot:o/below"),
        thing("container:c"),
        thing("mount:tied", bref__container="c"),
        thing("mount:untied", bref__container="gone"),
        thing("mount:lasting", pinned="mounts stay until deactivated"),
        thing("mount:root", root="1"),
        thing("stream:s", bref__container="c"),
    ) == {"lease:l", "mount:leased", "snapshot:o/below", "container:c", "mount:tied", "mount:lasting"}


def test_pinned_objects_are_roots() -> None:
    assert kept(thing("snapshot:o/k", "snapshot:o/p", pinned="in use"), thing("snapshot:o/p")) == {
        "snapshot:o/k", "snapshot:o/p",
    }  # fmt: skip


def test_explanations_lead_from_a_root() -> None:
    graph = Graph.of(
        [
            thing("image:redis", "content:index"),
            thing("content:index", ref__content__m__0="manifest"),
            thing("content:manifest", ref__snapshot__overlay="chain"),
            thing("snapshot:overlay/chain"),
            thing("content:loose"),
            thing("image:held", expire=PAST),
            thing("lease:l", "image:held", flat="1"),
        ]
    )
    assert explain(graph, node("snapshot:overlay/chain"), NOW) == [
        "image/redis: images are kept until deleted",
        "content/index: target of image/redis",
        f"content/manifest: label {GC}ref.content.m.0 of content/index",
        f"snapshot/overlay/chain: label {GC}ref.snapshot.overlay of content/manifest",
    ]
    assert explain(graph, node("image:held"), NOW)[-1] == "image/held: held by lease/l"
    assert explain(graph, node("content:loose"), NOW) == []
    assert explain(graph, node("content:unknown"), NOW) == []


def test_next_expiry_is_the_earliest_to_come() -> None:
    used = (NOW - timedelta(hours=1)).isoformat()
    objects = [
        thing("lease:old", expire=PAST),
        thing("lease:new", expire=FUTURE),
        thing("image:odd", expire="never"),
        thing("content:no-such-rule", expire="2026-11-20T12:00:01Z"),
        thing("snapshot:o/k", **{"cond__value-usedat": used}),
        thing("content:c", cond__snapshot__o="usedat<5400s|k"),
    ]
    assert next_expiry(Graph.of(objects), NOW) == NOW + timedelta(minutes=30)
    assert next_expiry(Graph.of(objects[:-1]), NOW) == NOW + timedelta(hours=1)
    ingest = thing("ingest:i", expires_at=NOW + timedelta(seconds=5))
    assert next_expiry(Graph.of([*objects, ingest]), NOW) == NOW + timedelta(seconds=5)
    assert next_expiry(Graph.of(objects[:1]), NOW) is None
    assert invalid_expiries(Graph.of(objects)) == [node("image:odd")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T12:00:00Z", NOW),
        ("2026-11-20T13:00:00+01:00", NOW),
        ("2026-11-20T12:00:00.000001999Z", NOW + timedelta(microseconds=1)),
        ("2026-11-20T12:00:00", None),
        ("2026-11-20", None),
        ("2026-13-20T12:00:00Z", None),
        ("2026-11-20T12:00:00Z ", None),
        ("", None),
    ],
)
def test_times(text: str, expected: datetime | None) -> None:
    assert gc_labels.parse_time(text) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h30m", 5400), ("1.5h", 5400), (".5s", 0.5), ("-2m", -120), ("0", 0), ("1ms", 0.001), ("300us", 0.0003),
        ("", None), ("5", None), ("h", None), ("1h x", None), ("9" * 40 + "h", None),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float | None) -> None:
    duration = gc_labels.parse_duration(text)
    assert (None if duration is None else duration.total_seconds()) == seconds


# -- random graphs
KEYS = ["a", "b", "c"]
KINDS = [Kind.CONTENT, Kind.SNAPSHOT, Kind.CONTAINER, Kind.IMAGE, Kind.LEASE, Kind.INGEST, Kind.MOUNT]
TIMES = [PAST, FUTURE, "broken"]


def key_of(kind: Kind, key: str) -> str:
    return f"o/{key}" if kind is Kind.SNAPSHOT else key


nodes = st.builds(
    lambda kind, key: Node(kind, "n", key_of(kind, key)), st.sampled_from(KINDS), st.sampled_from(KEYS)
)
values = st.sampled_from(KEYS)
label_sets = st.fixed_dictionaries(
    {},
    optional={
        GC + "ref.content": values, GC + "ref.content.l.0": values, GC + "ref.image": values,
        GC + "ref.snapshot.o": values, GC + "bref.content": values, GC + "bref.container": values,
        GC + "bref.snapshot.o": values, GC + "bref.image/x": values, GC + "expire": st.sampled_from(TIMES),
        GC + "ref.mount/x": values,
        GC + "flat": st.just(""), GC + "root": st.just("1"),
        GC + "cond.snapshot.o": st.sampled_from(["usedat<2h|a", "usedat>2h|a", "usedat<1m|b,usedat>1m|b"]),
        GC + "cond.value-usedat": st.sampled_from(["2026-11-20T11:00:00Z", "2026-11-19T11:00:00Z", "bad"]),
    },
)  # fmt: skip
objects = st.builds(
    Object,
    nodes,
    label_sets,
    st.lists(nodes, max_size=2).map(tuple),
    st.sampled_from([None, NOW - timedelta(1), NOW + timedelta(1)]),
    st.sampled_from(["", "", "", "in use"]),
)


def oracle(things: list[Object], now: datetime) -> set[Node]:
    """Add whatever any rule adds until nothing changes; written from the rules' text, without the graph."""
    by_node = {one.node: one for one in things}
    full: set[Node] = set()
    flat: set[Node] = set()
    for one in by_node.values():
        kind, labels = one.node.kind, one.labels
        expiry = {PAST: False, FUTURE: True}.get(labels.get(GC + "expire", ""), True)
        alive = {
            Kind.CONTAINER: True, Kind.IMAGE: expiry, Kind.LEASE: expiry,
            Kind.INGEST: one.expires_at is not None and one.expires_at > now,
            Kind.MOUNT: False, Kind.CONTENT: GC + "root" in labels, Kind.SNAPSHOT: GC + "root" in labels,
        }[kind]  # fmt: skip
        if alive or one.pinned:
            full.add(one.node)
    while True:
        before = len(full), len(flat)
        for one in by_node.values():
            is_flat_lease = one.node.kind is Kind.LEASE and GC + "flat" in one.labels
            existing = {target for target in one.targets if target in by_node}
            if one.node in full:
                (flat if is_flat_lease else full).update(existing)
                if one.node.kind not in (Kind.LEASE, Kind.INGEST):
                    full |= {target for target in forward(one) if target in by_node}
            if one.node in flat:
                flat |= existing
            if one.node.kind not in (Kind.LEASE, Kind.INGEST) and backward(one) & full:
                full.add(one.node)
            if one.node.kind in (Kind.CONTENT, Kind.IMAGE) and conditioned(one, by_node, now) & full:
                full.add(one.node)
        if before == (len(full), len(flat)):
            return full | flat


def forward(one: Object) -> set[Node]:
    found = {
        Node(Kind.CONTENT, "n", one.labels[key])
        for key in (GC + "ref.content", GC + "ref.content.l.0")
        if key in one.labels
    }
    if GC + "ref.mount/x" in one.labels:
        found.add(Node(Kind.MOUNT, "n", one.labels[GC + "ref.mount/x"]))
    if GC + "ref.image" in one.labels:
        found.add(Node(Kind.IMAGE, "n", one.labels[GC + "ref.image"]))
    if GC + "ref.snapshot.o" in one.labels:
        found.add(Node(Kind.SNAPSHOT, "n", "o/" + one.labels[GC + "ref.snapshot.o"]))
    return found


def backward(one: Object) -> set[Node]:
    kinds = {
        "content": Kind.CONTENT,
        "container": Kind.CONTAINER,
        "image/x": Kind.IMAGE,
        "snapshot.o": Kind.SNAPSHOT,
    }
    return {
        Node(kind, "n", key_of(kind, one.labels[GC + "bref." + name]))
        for name, kind in kinds.items()
        if GC + "bref." + name in one.labels
    }


def conditioned(one: Object, by_node: dict[Node, Object], now: datetime) -> set[Node]:
    found = set()
    for clause in filter(None, one.labels.get(GC + "cond.snapshot.o", "").split(",")):
        snapshot = Node(Kind.SNAPSHOT, "n", "o/" + clause[-1])
        used = by_node[snapshot].labels.get(GC + "cond.value-usedat", "bad") if snapshot in by_node else "bad"
        if used == "bad":
            continue
        hours = 1 if used == PAST else 25
        limit = {"2h": 2, "1m": 1 / 60}[clause[7:9]]
        if hours < limit if clause[6] == "<" else hours > limit:
            found.add(snapshot)
    return found


@settings(max_examples=400, deadline=None)
@given(st.lists(objects, max_size=12, unique_by=lambda one: one.node))
def test_marks_what_the_naive_fixpoint_marks(things: list[Object]) -> None:
    graph = Graph.of(things)
    marked = mark(graph, NOW)
    assert marked == oracle(things, NOW)
    for one in things:
        chain = explain(graph, one.node, NOW)
        assert bool(chain) is (one.node in marked)
        assert not chain or chain[-1].startswith(f"{one.node}: ")
