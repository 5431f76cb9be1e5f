"""One look at a fleet, or one after another, under Trio: the rest of the command line does without it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import click
import trio

from tricorn.fleet.looking import Fleet, Wanted
from tricorn.fleet.places import Place
from tricorn.fleet.views import FleetView


def look_and(
    tell: Callable[[FleetView], None], places: Sequence[Place], wanted: Wanted, *, parallel: int,
    timeout: float, again: float | None = None, draw: bool = False,
) -> None:  # fmt: skip
    """Give `tell` what is seen; every `again` seconds unless that is None, on a cleared screen with `draw`.

    KeyboardInterrupt passes, after all connections are closed.
    """
    interrupted = False
    try:
        trio.run(_looks, tell, Fleet(places, parallel=parallel, timeout=timeout), wanted, again, draw)
    except* KeyboardInterrupt:
        interrupted = True
    if interrupted:
        raise KeyboardInterrupt


async def _looks(
    tell: Callable[[FleetView], None], fleet: Fleet, wanted: Wanted, again: float | None, draw: bool
) -> None:
    try:
        while True:
            view = await fleet.look(wanted)
            if draw and sys.stdout.isatty():
                click.clear()
            tell(view)
            sys.stdout.flush()
            if again is None:
                return
            if draw and not sys.stdout.isatty():
                click.echo()
            await trio.sleep(again)
    finally:
        with trio.CancelScope(shield=True):
            await fleet.close()
