"""Streams of the streaming service as ends of a process's stdio.

To the copying they are pipes: on their other end the agent passes on what comes. Nothing of them outlives
the agent, so a monitor is given none of them to keep.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from tricorn.errors import Unimplemented
from tricorn.ports import ProcessStreams
from tricorn.rules.stdio_places import Place, Places
from tricorn.runtime.places import Opened
from tricorn.runtime.pumps import Input


def open_streams(places: Places, opened: Opened, namespace: str, streams: ProcessStreams | None) -> None:
    """Add the streams that `places` name to what was opened. NotFound for one that no client has open,
    FailedPrecondition for one that another process has.
    """
    named = {name for name in ("stdin", "stdout", "stderr") if getattr(places, name).stream}
    if not named:
        return
    if streams is None:
        raise Unimplemented("stdio by streams", why="nothing here serves them", field="stdio")
    for name in sorted(named):
        streams.check(namespace, getattr(places, name).stream)
    for name in named - {"stdin"}:
        setattr(opened, name, streams.output(namespace, getattr(places, name).stream))
    opened.fifos |= named
    opened.streams = frozenset(named)


@frozen
class Reopened:
    """The streams of a process that an earlier agent started: a client may open them again."""

    streams: ProcessStreams | None
    namespace: str

    def output(self, place: Place) -> int | None:
        return self.streams.output(self.namespace, place.stream) if self.streams else None

    def connect(self, stdin: Input, place: Place, ended: Callable[[], None]) -> None:
        """Have `stdin` read the stream once a client opens it; `ended` is called when that client ends it."""
        if self.streams:
            stdin.connect(*self.streams.input(self.namespace, place.stream, ended), keep=False)
