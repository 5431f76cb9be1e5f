"""What kinds of files a CRIU dump has open (images/fdinfo.proto). Pure."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from tricorn.rules.criu_images import entries, message_of, number_of

NAME: Final = "files.img"
INET: Final = 4
PACKET: Final = 10
FANOTIFY: Final = 12
TUN: Final = 15
BPF_MAP: Final = 19
RAW: Final = 3  # SOCK_RAW
# The messages that an entry may have, by the kinds that they stand for
_MESSAGES: Final = {4: INET, 6: PACKET, 11: TUN, 14: FANOTIFY, 21: BPF_MAP}


@frozen
class OpenFile:
    """One open file of a kind that takes a privilege; `socket` is the type of one of the internet's, `marked`
    whether its packets have a mark, by which nodes choose routes and rules of firewalls.
    """

    kind: int
    socket: int = 0
    marked: bool = False


def open_files(data: bytes | None) -> tuple[OpenFile, ...]:
    """Return those of an image that take a privilege. InvalidArgument if it is malformed."""
    if data is None:
        return ()
    found = []
    for fields in entries(data, "files", NAME):
        inet = message_of(fields, 4, NAME)
        kinds = {number_of(fields, 1), *(kind for number, kind in _MESSAGES.items() if number in fields)}
        marked = bool(number_of(message_of(inet, 14, NAME), 10))
        found += [
            OpenFile(kind, number_of(inet, 4), marked) for kind in sorted(kinds & {*_MESSAGES.values()})
        ]
    return tuple(dict.fromkeys(found))
