"""Dumps that stand on rounds of memory: laid out so that CRIU finds them, looked at before it does. All
calls block.

DUMP/parent leads to DUMP/rounds/N, the latest, DUMP/rounds/N/parent to ../N-1, and so on. These links are
made here, never by who brought the dump, and there is no other: CRIU would follow one out of it.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted
from tricorn.fs import dump_files
from tricorn.rules.migration_rounds import PARENT, PLACE, check_files, last_link, link_of

_BESIDE: Final = frozenset({PARENT, PLACE})


def join(dump: str, rounds: str, count: int) -> None:
    """Put the directories 1 to `count` in `rounds` under the dump that stands on them. InvalidArgument if
    it has something of that name already.
    """
    try:
        os.rename(rounds, f"{dump}/{PLACE}")
        os.symlink(last_link(count), f"{dump}/{PARENT}")
        for number in range(2, count + 1):
            os.symlink(link_of(number), f"{dump}/{PLACE}/{number}/{PARENT}")
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidArgument(
            "the dump is malformed", why=f"{error.filename2 or error.filename} is in it"
        ) from None


def check_dump(directory: str, rounds: int) -> list[str]:
    """Return the names of the files of a dump that stands on so many rounds, all of which only root may
    read from now on. InvalidArgument for anything but files, the links of `join` and the directories of the
    rounds.
    """
    if not rounds:
        return dump_files.check_files(directory)
    names = dump_files.check_files(directory, beside=_BESIDE)
    _check_link(directory, last_link(rounds))
    place = f"{directory}/{PLACE}"
    found = os.lstat(place)
    if not stat.S_ISDIR(found.st_mode) or sorted(os.listdir(place)) != sorted(map(str, range(1, rounds + 1))):
        raise InvalidArgument("the dump is malformed", why="its rounds aren't those that came")
    os.chmod(place, 0o700)
    files = len(names)
    for number in range(1, rounds + 1):
        files += len(_check_round(f"{place}/{number}", link_of(number)))
    if files > limits.DUMP_FILES:
        raise ResourceExhausted("the dump has too many files", why=f"over {limits.DUMP_FILES}")
    return names


def _check_round(directory: str, link: str) -> list[str]:
    if not stat.S_ISDIR(os.lstat(directory).st_mode):
        raise InvalidArgument(
            "the dump is malformed", why=f"round {os.path.basename(directory)} is no directory"
        )
    names = dump_files.check_files(directory, beside=frozenset({PARENT}) if link else frozenset())
    if link:
        _check_link(directory, link)
    check_files(names)
    return names


def _check_link(directory: str, wanted: str) -> None:
    path = f"{directory}/{PARENT}"
    try:
        found = os.readlink(path)
    except OSError:
        found = ""
    if found != wanted:
        raise InvalidArgument("the dump holds a link to elsewhere", why=f"{PARENT} leads to {found[:80]!r}")
