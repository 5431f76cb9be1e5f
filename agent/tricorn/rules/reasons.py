"""Everything that can be said of one object's fate: what keeps it and until when, or what no longer does.

Pure, as `reach`: the time is an argument. Times are when something ends by itself; a deletion may come first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

from attrs import frozen

from tricorn.rules import reach
from tricorn.rules.gc_labels import BACK_REFERENCE, REFERENCE, conditions
from tricorn.rules.reach import Graph, Kind, Node, Object, Step

_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_INSTANT: Final = timedelta(microseconds=1)
_ROUNDS: Final = 64  # of something that is kept by one thing after the other
State = tuple[Node, bool]  # a node as it is reached: flat or fully


@frozen
class Keeper:
    """A root that keeps an object, and why it is one; `until` is when it ends by itself, None: never."""

    node: Node
    reason: str
    until: datetime | None


@frozen
class Fate:
    """`chain` leads from a root to the object, one line a step; `keepers` are all roots it hangs on;
    `until` is when time alone has freed it, None: never. For what isn't kept, `lapsed` tells what might
    have kept it and doesn't.
    """

    chain: tuple[str, ...] = ()
    keepers: tuple[Keeper, ...] = ()
    until: datetime | None = None
    lapsed: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        return bool(self.chain)


def fate(graph: Graph, node: Node, now: datetime) -> Fate:
    """Return what is to be said of `node`, which must be in the graph."""
    chain = tuple(reach.explain(graph, node, now))
    if not chain:
        return Fate(lapsed=tuple(_lapsed(graph, node, now)))
    return Fate(chain, tuple(_keepers(graph, node, now)), _until(graph, node, now))


def _keepers(graph: Graph, node: Node, now: datetime) -> Iterator[Keeper]:
    """Go back from the node over all steps, not only the first that reached each."""
    before: dict[State, list[State]] = {}
    for step in reach.steps(graph, now):
        if step.before is not None:
            before.setdefault(_state(step), []).append(_state(step.before))
    pending: list[State] = [(node, False), (node, True)]
    seen = set(pending)
    while pending:
        for state in before.get(pending.pop(), ()):
            if state not in seen:
                seen.add(state)
                pending.append(state)
    for root in reach.roots(graph, now):
        if (root.node, False) in seen:
            yield Keeper(root.node, root.relation, root.until)


def _state(step: Step) -> State:
    return step.node, step.flat


def _until(graph: Graph, node: Node, now: datetime) -> datetime | None:
    """Return the end of the way to the node that lasts longest; then of the one that begins by then."""
    moment = now
    for _ in range(_ROUNDS):
        end = _lasts(graph, moment).get(node)
        if end is None or end == _NEVER:
            return None if end else moment
        moment = max(end, moment) + _INSTANT
        if node not in reach.mark(graph, moment):
            return end
    return moment


def _lasts(graph: Graph, now: datetime) -> dict[Node, datetime]:
    """Return until when each kept node is: a way lasts as long as its shortest step."""
    ends: dict[State, datetime] = {}
    leaving: dict[State, list[Step]] = {}
    tick = count()  # steps themselves have no order
    heap: list[tuple[float, int, datetime, State]] = []

    def push(step: Step, end: datetime) -> None:
        last = min(end, step.until or _NEVER)
        heapq.heappush(heap, (-last.timestamp(), next(tick), last, _state(step)))

    for step in reach.steps(graph, now):
        if step.before is None:
            push(step, _NEVER)
        else:
            leaving.setdefault(_state(step.before), []).append(step)
    while heap:
        _, _, end, state = heapq.heappop(heap)
        if state in ends:
            continue
        ends[state] = end
        for step in leaving.get(state, ()):
            push(step, end)
    best: dict[Node, datetime] = {}
    for (node, _), end in ends.items():
        best[node] = max(end, best.get(node, end))
    return best


# -------------------------------------------------------------------- what keeps it no more
def _lapsed(graph: Graph, node: Node, now: datetime) -> Iterator[str]:
    thing = graph.objects[node]
    expiry = reach.ends_at(thing)
    if expiry is not None:
        yield f"it expired at {reach.shown(expiry)}"
    for other in graph.objects.values():
        relation = _names(other, node)
        if relation:
            yield f"{other.node} {relation} it, but {_why_not(other)}"
    for parent, label in reach.label_nodes(thing, BACK_REFERENCE):
        state = "isn't kept itself" if parent in graph.objects else "doesn't exist"
        yield f"its label {label} ties it to {parent}, which {state}"
    yield from _idle_conditions(graph, thing, now)


def _names(other: Object, node: Node) -> str:
    if node in other.targets:
        return {Kind.LEASE: "holds", Kind.IMAGE: "points to", Kind.SNAPSHOT: "stands on"}.get(
            other.node.kind, "needs"
        )
    for target, label in reach.label_nodes(other, REFERENCE):
        if target == node:
            return f"refers by its label {label} to"
    return ""


def _why_not(other: Object) -> str:
    expiry = reach.ends_at(other)
    return f"expired at {reach.shown(expiry)}" if expiry else "isn't kept itself"


def _idle_conditions(graph: Graph, thing: Object, now: datetime) -> Iterator[str]:
    holding: Mapping[str, bool] = {
        f"{condition.label} {snapshot.key}": condition.holds(used_at, now)
        for snapshot, used_at, condition in reach.conditions_of(graph, thing)
    }
    if thing.node.kind not in {Kind.CONTENT, Kind.IMAGE}:
        return
    for condition in conditions(thing.labels):
        met = holding.get(f"{condition.label} {condition.snapshot}")
        if met is None:
            yield f"its condition {condition.label} is on snapshot/{condition.snapshot}, whose use is unknown"
        elif met:
            yield f"its condition {condition.label} holds, but snapshot/{condition.snapshot} isn't kept"
        else:
            yield f"its condition {condition.label} doesn't hold for snapshot/{condition.snapshot}"
