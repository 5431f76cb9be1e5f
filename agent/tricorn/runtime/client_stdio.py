"""The stdio that clients of containerd's API bring along, process by process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog
import trio

from tricorn import limits
from tricorn.model.records import ProcessIdentity
from tricorn.model.stdio import Stdio
from tricorn.ports import Created, ProcessStreams
from tricorn.rules.stdio_places import Places, parse_places
from tricorn.runtime import process, rewiring
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.loggers import Loggers, end_logger
from tricorn.runtime.places import open_places, open_stdin
from tricorn.runtime.pumps import Pump
from tricorn.runtime.stream_ends import Reopened, open_streams
from tricorn.runtime.wiring import Wiring, wired

log = structlog.get_logger(__name__)


class ClientStdio:
    """Owns the copying between processes and clients; it runs in the nursery given to `run_in`."""

    def __init__(self, loggers: Loggers) -> None:
        self._loggers = loggers
        self.streams: ProcessStreams | None = None
        self._nursery: trio.Nursery | None = None
        self._pumps: dict[str, Pump] = {}

    def run_in(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    @asynccontextmanager
    async def prepare(
        self, stdio: Stdio, bundle: Bundle, name: str, namespace: str
    ) -> AsyncIterator[tuple[Places, Wiring]]:
        """Open the client's side and start its logging program. Leaving the context closes what `begin`
        didn't take over.
        """
        places = parse_places(stdio)
        if places.program:
            self._loggers.check(places.program)
        with await open_places(places) as opened:
            open_streams(places, opened, namespace, self.streams)
            with wired(places, opened) as wiring:
                if places.program:
                    await self._loggers.start(places.program, bundle, name, namespace, wiring.logger_ends)
                yield places, wiring

    def begin(self, bundle: Bundle, wiring: Wiring, init: ProcessIdentity) -> None:
        """Copy from now on."""
        wiring.release()
        self._run(bundle, wiring.pump(init))

    def _run(self, bundle: Bundle, pump: Pump) -> None:
        assert self._nursery is not None, "the runtime is open"
        self._pumps[bundle.path] = pump
        self._nursery.start_soon(self._copy, bundle.path, pump, name=f"stdio {bundle.path}")

    async def _copy(self, path: str, pump: Pump) -> None:
        try:
            await pump.run()
        except Exception:  # whatever is wrong with one process's streams, the others go on
            log.exception("copying broken off", bundle=path)
        finally:
            if self._pumps.get(path) is pump:
                del self._pumps[path]

    async def resume(self, stdio: Stdio, bundle: Bundle, created: Created, namespace: str) -> None:
        """Go on with the copying of a process that an earlier agent started. Its streams ended with that
        agent: output is dropped, and stdin stays open, until a client opens them again under their ids.
        """
        if not process.alive(created.monitor):
            return
        await trio.lowlevel.checkpoint()
        streams = Reopened(self.streams, namespace)
        pump = rewiring.pump_again(parse_places(stdio), created, bundle, streams)
        if pump:
            self._run(bundle, pump)

    async def connect_stdin(self, stdio: Stdio, bundle: Bundle, namespace: str) -> None:
        """Begin to read the client's FIFO or stream of stdin, if it has one: its process is about to run."""
        place = parse_places(stdio).stdin
        pump = self._pumps.get(bundle.path)
        if not pump or not pump.takes_input:
            return
        if place.stream and self.streams:
            end = partial(rewiring.end_noted, bundle, pump.end_stdin)
            pump.connect_stdin(*self.streams.input(namespace, place.stream, end), keep=False)
        elif place.path:
            pump.connect_stdin(*await open_stdin(place))

    def end_stdin(self, bundle: Bundle, monitor: ProcessIdentity) -> None:
        """Close the process's stdin once all is handed over that the client has written."""
        rewiring.note_ended(bundle)
        pump = self._pumps.get(bundle.path)
        if pump:
            pump.end_stdin()
        else:
            rewiring.end_unpumped(monitor)

    async def finish(self, bundle: Bundle) -> None:
        """Wait a little for the last output of a process that is gone; it goes on behind for a slow
        client.
        """
        pump = self._pumps.get(bundle.path)
        if pump:
            await pump.drained(limits.STDIO_DELETE_WAIT)
        await end_logger(bundle)
