"""What is kept and why: the garbage collector's graph, as containerd's label contract defines it.

Pure: the time is an argument. Edges never leave a namespace, and edges to what doesn't exist are fine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from attrs import Factory, define, field, frozen

from tricorn.rules.gc_labels import (
    BACK_REFERENCE,
    EXPIRE,
    FLAT,
    REFERENCE,
    ROOT,
    USED_AT,
    Condition,
    conditions,
    parse_time,
    references,
)


class Kind(StrEnum):
    __hash__ = str.__hash__  # Enum's own is a Python function, and marking hashes little else

    CONTENT = "content"
    SNAPSHOT = "snapshot"
    CONTAINER = "container"
    SANDBOX = "sandbox"
    IMAGE = "image"
    LEASE = "lease"
    INGEST = "ingest"
    MOUNT = "mount"  # an activation of the mounts service
    STREAM = "stream"  # an open one of the streaming service


class Node(NamedTuple):
    """An object's name. A snapshot's key is `SNAPSHOTTER/KEY`."""

    kind: Kind
    namespace: str
    key: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.key}"


@frozen
class Object:
    """A record as the collector sees it. `targets` are its typed edges: an image's target, a snapshot's
    parent, a container's snapshot, an ingest's expected blob, a lease's resources. `expires_at` is an
    ingest's. `pinned` says why something outside the records needs it now ("" = nothing does); it does so
    for as long as it likes.
    """

    node: Node
    labels: Mapping[str, str] = Factory(dict)
    targets: tuple[Node, ...] = ()
    expires_at: datetime | None = None
    pinned: str = ""


class Step(NamedTuple):
    """A node as it was reached; a flat one leads on by its typed edges only."""

    node: Node
    flat: bool
    relation: str  # to the node before, or why it is a root
    before: Step | None = None
    until: datetime | None = None  # this very step ends by itself then; None: it doesn't

    def __str__(self) -> str:
        return f"{self.node}: {self.relation}" + (f" {self.before.node}" if self.before else "")


@define
class Graph:
    """All objects of all namespaces. Build it with `Graph.of(objects)`."""

    objects: dict[Node, Object]
    back: dict[Node, list[tuple[Node, str]]] = field(factory=dict)  # by parent: what names it as such

    @classmethod
    def of(cls, objects: Iterable[Object]) -> Graph:
        graph = cls({thing.node: thing for thing in objects})
        for thing in graph.objects.values():
            for parent, label in label_nodes(thing, BACK_REFERENCE):
                graph.back.setdefault(parent, []).append((thing.node, f"its own label {label} ties it to"))
        return graph


_NO_LABEL_EDGES: Final = frozenset({Kind.LEASE, Kind.INGEST, Kind.STREAM})
_CONDITIONED: Final = frozenset({Kind.CONTENT, Kind.IMAGE})
_TARGET_RELATIONS: Final = {
    Kind.IMAGE: "target of", Kind.SNAPSHOT: "parent of", Kind.CONTAINER: "root filesystem of",
    Kind.INGEST: "expected by", Kind.LEASE: "held by", Kind.CONTENT: "referred to by",
}  # fmt: skip


def mark(graph: Graph, now: datetime) -> set[Node]:
    """Return the nodes that are kept at `now`."""
    return {node for node, _ in _walk(graph, now)}


def explain(graph: Graph, node: Node, now: datetime) -> list[str]:
    """Return why `node` is kept, one line a step from a root to it; empty if it isn't kept."""
    return chain_to(_walk(graph, now), node)


def chain_to(first: Mapping[tuple[Node, bool], Step], node: Node) -> list[str]:
    """Return the way to `node`, one line a step, by the first step that reached each."""
    step = first.get((node, False)) or first.get((node, True))
    lines: list[str] = []
    while step is not None:
        lines.append(str(step))
        step = step.before
    return lines[::-1]


def next_expiry(graph: Graph, now: datetime) -> datetime | None:
    """Return the first moment after `now` at which something that time alone frees may be collected."""
    moments = [moment for thing in graph.objects.values() for moment in _moments(graph, thing)]
    return min((moment for moment in moments if moment >= now), default=None)


def invalid_expiries(graph: Graph) -> list[Node]:
    """Return the objects whose expiry label isn't a time: they never expire."""
    return [
        thing.node
        for thing in graph.objects.values()
        if thing.node.kind in {Kind.LEASE, Kind.IMAGE}
        and EXPIRE in thing.labels
        and parse_time(thing.labels[EXPIRE]) is None
    ]


def steps(graph: Graph, now: datetime) -> list[Step]:
    """Return every step that leads to a kept node at `now`, the first of each on the shortest way."""
    every: list[Step] = []
    _walk(graph, now, every)
    return every


def _walk(graph: Graph, now: datetime, every: list[Step] | None = None) -> dict[tuple[Node, bool], Step]:
    """Go breadth first, so that explanations are the shortest. A node may be reached flat and fully.

    `every` gets all steps, those to nodes that were reached before as well.
    """
    reached: dict[tuple[Node, bool], Step] = {}
    conditioned = _conditioned(graph, now)
    pending = deque(roots(graph, now))
    while pending:
        step = pending.popleft()
        if step.node not in graph.objects:
            continue
        if every is not None:
            every.append(step)
        if (step.node, step.flat) not in reached:
            reached[step.node, step.flat] = step
            pending.extend(_next_steps(graph, step, conditioned))
    return reached


def roots(graph: Graph, now: datetime) -> Iterator[Step]:
    """Yield what is kept by itself at `now`."""
    for thing in graph.objects.values():
        reason = thing.pinned or _root_reason(thing, now)
        if reason:
            until = None if thing.pinned else ends_at(thing)
            yield Step(thing.node, flat=False, relation=reason, until=until)


def _root_reason(thing: Object, now: datetime) -> str:
    kind = thing.node.kind
    if kind in {Kind.CONTAINER, Kind.SANDBOX}:
        return f"{'containers' if kind is Kind.CONTAINER else 'sandboxes'} are kept until deleted"
    if kind in {Kind.IMAGE, Kind.LEASE}:
        expiry = _expiry(thing)
        if expiry is None:
            return f"{kind}s are kept until deleted"
        return f"the {kind} expires at {shown(expiry)}" if now <= expiry else ""
    if kind in {Kind.MOUNT, Kind.STREAM}:
        return ""
    if kind is Kind.INGEST:
        alive = thing.expires_at is not None and thing.expires_at > now
        return f"the transfer expires at {shown(thing.expires_at)}" if alive and thing.expires_at else ""
    return f"it has the label {ROOT}" if ROOT in thing.labels else ""


def ends_at(thing: Object) -> datetime | None:
    """Return when a root of this kind stops to be one by itself."""
    if thing.node.kind in {Kind.IMAGE, Kind.LEASE}:
        return _expiry(thing)
    return thing.expires_at if thing.node.kind is Kind.INGEST else None


def _expiry(thing: Object) -> datetime | None:
    return parse_time(thing.labels[EXPIRE]) if EXPIRE in thing.labels else None


def _next_steps(graph: Graph, step: Step, conditioned: Mapping[Node, list[_Conditioned]]) -> Iterator[Step]:
    thing = graph.objects[step.node]
    flat = step.flat or (thing.node.kind is Kind.LEASE and FLAT in thing.labels)
    for target in thing.targets:
        yield Step(target, flat, _TARGET_RELATIONS.get(thing.node.kind, "needed by"), step)
    if step.flat or thing.node.kind in _NO_LABEL_EDGES:
        return
    for target, label in label_nodes(thing, REFERENCE):
        yield Step(target, flat=False, relation=f"label {label} of", before=step)
    for child, relation in graph.back.get(step.node, ()):
        yield Step(child, flat=False, relation=relation, before=step)
    for child, relation, until in conditioned.get(step.node, ()):
        yield Step(child, flat=False, relation=relation, before=step, until=until)


def label_nodes(thing: Object, prefix: str) -> Iterator[tuple[Node, str]]:
    """Yield the nodes that labels with `prefix` name, with the label."""
    if not thing.labels or thing.node.kind in _NO_LABEL_EDGES:
        return
    for label, kind, key in references(thing.labels, prefix):
        yield Node(Kind(kind), thing.node.namespace, key), label


_Conditioned = tuple[Node, str, datetime | None]  # what is kept, why, until when


def _conditioned(graph: Graph, now: datetime) -> dict[Node, list[_Conditioned]]:
    """Return, by snapshot, what is kept along with it because a condition holds at `now`."""
    found: dict[Node, list[_Conditioned]] = {}
    for thing in graph.objects.values():
        for snapshot, used_at, condition in conditions_of(graph, thing):
            if condition.holds(used_at, now):
                relation = f"its own label {condition.label} holds for"
                entry = thing.node, relation, condition.ends_at(used_at)
                found.setdefault(snapshot, []).append(entry)
    return found


def conditions_of(graph: Graph, thing: Object) -> Iterator[tuple[Node, datetime, Condition]]:
    """Yield the conditions on snapshots that exist and tell when they were used."""
    if not thing.labels or thing.node.kind not in _CONDITIONED:
        return
    for condition in conditions(thing.labels):
        snapshot = Node(Kind.SNAPSHOT, thing.node.namespace, condition.snapshot)
        found = graph.objects.get(snapshot)
        used_at = parse_time(found.labels.get(USED_AT, "")) if found else None
        if used_at is not None:
            yield snapshot, used_at, condition


def _moments(graph: Graph, thing: Object) -> Iterator[datetime]:
    if thing.node.kind in {Kind.LEASE, Kind.IMAGE}:
        expiry = _expiry(thing)
        if expiry is not None:
            yield expiry
    if thing.expires_at is not None:
        yield thing.expires_at
    for _, used_at, condition in conditions_of(graph, thing):
        end = condition.ends_at(used_at)
        if end is not None:
            yield end


def shown(time: datetime) -> str:
    """Return a time as explanations show it."""
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
