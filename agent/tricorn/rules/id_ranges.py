"""Which ids of the node a container of its own user namespace gets, where it names none. Pure.

Ranges come from the configuration, or from /etc/subuid and /etc/subgid (subuid(5)), which say whose which
are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from tricorn.errors import Conflict, FailedPrecondition, ResourceExhausted
from tricorn.model.id_spans import LAST, Span

_LINE: Final = re.compile(r"([^:\s]+):(\d{1,10}):(\d{1,10})")


def granted(text: str, users: Iterable[str] = ()) -> list[Span]:
    """Return what a file in the form of subuid(5) gives to any of `users` (names or numbers); without them
    all that it gives. Malformed lines are passed over, as newuidmap(1) does.
    """
    names = set(users)
    found = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match and (not names or match[1] in names):
            span = Span(int(match[2]), int(match[3]))
            if span.first > 0 and span.size > 0 and span.end - 1 <= LAST:
                found.append(span)
    return found


def free_span(pools: Sequence[Span], taken: Sequence[Span], size: int, what: str) -> Span:
    """Return the lowest `size` ids of the pools that meet nothing taken. ResourceExhausted, naming `what`."""
    ordered = sorted(taken, key=lambda each: each.first)
    for pool in sorted(pools, key=lambda each: each.first):
        first = pool.first
        for each in ordered:
            if each.meets(Span(first, size)):
                first += -(-(each.end - first) // size) * size  # stay in step, so that gaps fit again
        if first + size <= pool.end:
            return Span(first, size)
    raise ResourceExhausted(
        f"no {size} {what} are free for a user namespace",
        why=f"{sum(pool.size for pool in pools)} are set aside for containers on this node",
        hint="give `user_namespaces` of the configuration a larger range, or name ids by `--uidmap`",
    )


def require_regainable(
    wanted: Sequence[Span], pools: Sequence[Span], others: Sequence[Span], used: Sequence[Span]
) -> None:
    """Let ids that dumped processes had be given to a container again, unless they are not among those that
    are set aside (FailedPrecondition), or containers have some of them (Conflict).
    """
    for span in wanted:
        inside = any(pool.first <= span.first and span.end <= pool.end for pool in pools)
        if not inside or any(span.meets(other) for other in others):
            raise FailedPrecondition(
                f"the checkpoint's processes have the ids {_shown(span)}",
                why="they are not set aside for containers on this node",
                hint="name them by `--uidmap` and `--gidmap` if the container may have them",
            )
        if any(span.meets(other) for other in used):
            raise Conflict(
                f"a container has some of the ids that the checkpoint's processes have, {_shown(span)}",
                hint="delete it, or name them by `--uidmap` and `--gidmap` if both may have them",
            )


def _shown(span: Span) -> str:
    return f"{span.first} to {span.end - 1}"
