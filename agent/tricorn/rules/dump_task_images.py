"""What a CRIU dump says of a process's place among others: scheduling, limits, the kernel's out-of-memory
killer (images/core.proto). Pure.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from tricorn.rules.criu_images import Fields, bytes_of, message_of, number_of, parse, sint_of

INFINITE: Final = (1 << 64) - 1
Limits = tuple[tuple[int, int], ...]  # soft, hard; by the kernel's numbers


@frozen
class Task:
    """A thread's policy and niceness; its process's limits and what is added to its badness."""

    policy: int = 0
    priority: int = 0
    nice: int = 0
    limits: Limits = ()
    oom_score_adj: int = 0


def task_of(process: Fields, thread: Fields, name: str) -> Task:
    """Return what the two messages of an image say; InvalidArgument if they are malformed."""
    packed = message_of(process, 8, name).get(1, ())
    limits = [parse(bytes_of(each, name), name) for each in packed]
    return Task(
        policy=number_of(thread, 4),
        priority=number_of(thread, 5),
        nice=sint_of(thread, 3),
        limits=tuple((number_of(each, 1), number_of(each, 2)) for each in limits),
        oom_score_adj=_signed(number_of(process, 14)),
    )


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value
