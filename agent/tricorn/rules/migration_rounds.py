"""Rounds of memory before a container is frozen: how many there are, and what each may consist of. Pure.

A round is a dump of CRIU's (`--pre-dump`) that holds pages alone: all of them the first, those that were
written to since the last one each other. The dump after the freeze stands on the latest, that on the one
before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.model.migrations import MigrateRequest

_DEFAULT: Final = 5
_SHRINKS: Final = 0.8  # of the round before: one that is larger gains less than it costs
# a restore reads pagemaps and pages of it; CRIU writes the others, too
_FILE: Final = re.compile(
    r"(?:pagemap|pagemap-shmem|pages)-[0-9]{1,20}\.img|inventory\.img|irmap-cache|stats-dump"
)
PARENT: Final = "parent"  # CRIU's name of the link to the directory of the round before
PLACE: Final = "rounds"  # where a dump has those that it stands on


def check_request(request: MigrateRequest) -> None:
    """InvalidArgument for numbers of rounds that there can't be, and for rounds by a registry."""
    rounds = request.rounds
    if rounds is None:
        return
    if not 0 <= rounds <= limits.MIGRATION_ROUNDS:
        raise InvalidArgument(
            f"{rounds} rounds of memory",
            why=f"it is a number from 0 to {limits.MIGRATION_ROUNDS}",
            field="rounds",
        )
    if rounds and request.via:
        raise InvalidArgument(
            "rounds of memory can't go by a registry", why="the image there holds one dump",
            hint="leave out `rounds` (`--rounds`) or `via` (`--via`)", field="rounds",
        )  # fmt: skip


def reason_against(request: MigrateRequest, memory: int, free: int) -> str:
    """Return why there are no rounds for a container that has so much memory, "" if there are. `free` is
    the room on the disk that they go through here.
    """
    if request.rounds == 0:
        return "none were asked for"
    if request.via:
        return "all goes by a registry, where an image holds one dump"
    if request.rounds is None and memory <= limits.MIGRATION_SMALL:
        return f"its memory ({memory} bytes) goes over at once"
    if free < 2 * memory:
        return f"the disk has no room for them: {free} bytes, and it has {memory} of memory"
    return ""


def goes_on(sizes: Sequence[int], asked: int | None) -> bool:
    """Return whether another round follows those that had these sizes, in bytes: not after as many as were
    asked for, nor if little is left, nor if it isn't becoming less.
    """
    if len(sizes) >= (_DEFAULT if asked is None else asked):
        return False
    if not sizes:
        return True
    if sizes[-1] <= limits.MIGRATION_SMALL:
        return False
    return len(sizes) < 2 or sizes[-1] < _SHRINKS * sizes[-2]


def check_files(names: Sequence[str]) -> None:
    """InvalidArgument unless these are what a round consists of."""
    if odd := [name for name in names if not _FILE.fullmatch(name)]:
        raise InvalidArgument("a round of memory holds more than pages", why=repr(odd[0][:80]))


def link_of(number: int) -> str:
    """Return what the round `number` is linked to, the first being 1: the one before. "" for nothing."""
    return f"../{number - 1}" if number > 1 else ""


def last_link(count: int) -> str:
    """Return what the dump itself is linked to, that stands on so many rounds."""
    return f"{PLACE}/{count}" if count else ""
