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
    ways = _Ways.to(graph, node, now)
    if not ways.chain:
        return Fate(lapsed=tuple(_lapsed(graph, node, now)))
    return Fate(ways.chain, ways.keepers(), _until(graph, node, now, ways))


@frozen
class _Ways:
    """All ways that lead to one node at one moment: the steps between its forebears, and into them."""

    node: Node
    chain: tuple[str, ...]
    steps: tuple[Step, ...]

    @classmethod
    def to(cls, graph: Graph, node: Node, now: datetime) -> _Ways:
        first: dict[State, Step] = {}
        into: dict[State, list[Step]] = {}
        for step in reach.steps(graph, now):
            first.setdefault(_state(step), step)
            into.setdefault(_state(step), []).append(step)
        pending = [state for state in ((node, False), (node, True)) if state in into]
        seen = set(pending)
        found: list[Step] = []
        while pending:
            for step in into[pending.pop()]:
                found.append(step)
                if step.before is not None and _state(step.before) not in seen:
                    seen.add(_state(step.before))
                    pending.append(_state(step.before))
        return cls(node, tuple(reach.chain_to(first, node)), tuple(found))

    def keepers(self) -> tuple[Keeper, ...]:
        """Return the roots that the ways begin at."""
        begins = [step for step in self.steps if step.before is None]
        return tuple(Keeper(step.node, step.relation, step.until) for step in begins)

    def end(self) -> datetime | None:
        """Return until when the longest-lasting way does, None if there is no way. A way lasts as long as
        its shortest step.
        """
        leaving: dict[State, list[Step]] = {}
        heap: list[tuple[float, int, datetime, State]] = []
        tick = count()  # steps themselves have no order

        def push(step: Step, end: datetime) -> None:
            last = min(end, step.until or _NEVER)
            heapq.heappush(heap, (-last.timestamp(), next(tick), last, _state(step)))

        for step in self.steps:
            if step.before is None:
                push(step, _NEVER)
            else:
                leaving.setdefault(_state(step.before), []).append(step)
        done: set[State] = set()
        while heap:
            _, _, end, state = heapq.heappop(heap)
            if state[0] == self.node:
                return end
            if state not in done:
                done.add(state)
                for step in leaving.get(state, ()):
                    push(step, end)
        return None


def _state(step: Step) -> State:
    return step.node, step.flat


def _until(graph: Graph, node: Node, now: datetime, ways: _Ways) -> datetime | None:
    """Return the end of the way that lasts longest; then of the one that begins by then, and so on."""
    end, moment = ways.end(), now
    for _ in range(_ROUNDS):
        if end is None or end == _NEVER:
            break
        moment = max(end, moment) + _INSTANT
        following = _Ways.to(graph, node, moment).end()
        if following is None:
            return end
        end = following
    return None


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
