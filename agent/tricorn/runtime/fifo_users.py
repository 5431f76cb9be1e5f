"""Who has the FIFOs open that a client of containerd's API gave a process for its stdio."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress

from tricorn.model.stdio import Stdio

_FIFO, _STREAM = "fifo://", "streaming://"


def attached(stdio: Stdio, own: Collection[int]) -> str:
    """Return the place through which a client hears the process or is heard by it, "" for none. `own` are
    processes that copy for the agent. Blocks.
    """
    places = [place for place in (stdio.stdin, stdio.stdout, stdio.stderr) if place]
    streams = [place for place in places if place.startswith(_STREAM)]
    if streams:
        return streams[0]
    plain = {place.removeprefix(_FIFO) for place in places if place.startswith(("/", _FIFO))}
    for name in filter(str.isdigit, os.listdir("/proc")) if plain else ():
        if int(name) in own:
            continue
        with suppress(OSError):
            for descriptor in os.listdir(f"/proc/{name}/fd"):
                with suppress(OSError):
                    if (found := os.readlink(f"/proc/{name}/fd/{descriptor}")) in plain:
                        return found
    return ""
