"""Bytes of a file to a bare socket, by a thread: what the disk has to be asked for holds up nobody else.

sendfile(2) is the least work for this side. It is not for a receiver on the same machine, who reads page by
page then what no processor's cache has: a registry beside the agent took 2.6 s of its time for 716 MB, and
2.3 of copies, which are 0.14 s more here. Such a receiver gets copies.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from tricorn import limits

Taker = Callable[[int, int], int]

_TURN: Final = 0.5  # seconds that a file is sent by a thread before others have a say
_COPIED: Final = 256 * limits.KIB  # at a time: is in the cache still when it is received


def taker(number: int, descriptor: int, *, local: bool) -> Taker:
    """Return what gives the socket `number` some of the file's bytes from an offset, at most so many, and
    tells how many it took: 0 at the file's end. BlockingIOError when it takes nothing now. It is for one
    range, from the start to the end; `local`: the receiver is on this machine.
    """
    return _copies(number, descriptor) if local else partial(os.sendfile, number, descriptor)


def _copies(number: int, descriptor: int) -> Taker:
    room = memoryview(bytearray(_COPIED))
    rest = room[:0]  # what was read and not taken so far

    def take(offset: int, count: int) -> int:
        nonlocal rest
        rest = rest or room[: os.preadv(descriptor, [room[:count]], offset)]
        taken = os.write(number, rest) if rest else 0
        rest = rest[taken:]
        return taken

    return take


def send(number: int, take: Taker, offset: int, count: int) -> int | None:
    """Send some of a file to a non-blocking socket for about half a second; return how many bytes, None when
    it took nothing. A turn is that long as going to a thread and back for each 100 KB costs more than sending
    them.
    """
    sent, end = 0, time.monotonic() + _TURN
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    while sent < count and (left := end - time.monotonic()) > 0:
        try:
            taken = take(offset + sent, count - sent)
        except BlockingIOError:
            poll.poll(left * 1000)
            continue
        if not taken:
            return sent
        sent += taken
    return sent or None
