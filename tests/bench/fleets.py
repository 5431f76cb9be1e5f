"""Many sleeping containers on each side: how one is started and ended, and what watches them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from attrs import frozen
from containerd_peer import ContainerdPeer
from sides import NEW, OLD, OURS, Stage
from tricorn_side import TricornSide

SLEEP: Final = ["/bin/sleep", "100000"]
WIDTH: Final = 4  # clients at a time


@frozen
class Fleet:
    """`start` and `end` take a container's name; `monitors` returns the processes that watch them all."""

    side: TricornSide | ContainerdPeer
    start: Callable[[str], None]
    monitors: Callable[[], list[int]]
    end: Callable[[str], None]


def fleets(stage: Stage, sides: Sequence[str] = (OURS, NEW, OLD)) -> dict[str, Fleet]:
    """Return how each of the sides does it."""
    made = {OURS: lambda: _ours(stage)} | {
        name: lambda peer=peer: _theirs(peer, stage)  # type: ignore[misc]  # called below
        for name, peer in stage.peers.items()
    }
    return {name: made[name]() for name in sides}


def parallel(work: Callable[[str], None], names: Sequence[str]) -> None:
    with ThreadPoolExecutor(WIDTH) as pool:
        list(pool.map(work, names))


def _ours(stage: Stage) -> Fleet:
    side = stage.tricorn

    def start(name: str) -> None:
        side.create(name, stage.small.reference, SLEEP, "")
        side.start_task(name)

    return Fleet(side, start, side.monitors, lambda name: side.delete(name, force=True))


def _theirs(peer: ContainerdPeer, stage: Stage) -> Fleet:
    waiting: dict[str, Any] = {}

    def start(name: str) -> None:
        waiting[name] = peer.start_task(name, peer.create(name, stage.small.chain_id, SLEEP))

    def end(name: str) -> None:
        peer.kill_task(name)
        waiting.pop(name).result()
        peer.delete(name)

    return Fleet(peer, start, peer.shims, end)
