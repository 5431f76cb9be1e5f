"""What containers use at a moment: figures of their control groups, their interfaces, their processes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import Factory, frozen

Figures = Mapping[str, float]


@frozen
class CgroupSample:
    """`figures` are named with their units; what the host hasn't is left out, not zero. `network` has the
    counters of each interface but the loopback, of a container with a network of its own.
    """

    cgroup: str
    figures: Figures = Factory(dict)
    network: Mapping[str, Figures] = Factory(dict)


@frozen
class ContainerSample:
    """What one running container uses; of two samples the difference of counters is what it used between."""

    namespace: str
    id: str
    image: str
    runtime: str
    status: str
    pid: int
    cgroup: str
    taken_at: datetime
    started_at: datetime | None = None
    figures: Figures = Factory(dict)
    network: Mapping[str, Figures] = Factory(dict)


@frozen
class ProcessInfo:
    """One process of a container, numbered as the node does. `memory` is its resident set in bytes."""

    pid: int
    parent: int
    uid: int
    state: str  # as proc(5) has it: R, S, D, Z, T …
    threads: int
    memory: int
    cpu_seconds: float
    args: tuple[str, ...]
