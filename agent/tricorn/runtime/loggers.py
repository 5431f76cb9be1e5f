"""Programs that take a process's output (`binary://`), as containerd starts them.

The program gets stdout and stderr as descriptors 3 and 4 and closes 5 once it listens. It belongs to the
container, not to the agent: it lives on when the agent ends. Only programs that the configuration names
are started, for whoever may create containers would otherwise run any program on the node as root.
"""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import structlog
import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from tricorn.model.records import ProcessIdentity
from tricorn.rules.stdio_places import Place
from tricorn.runtime import process
from tricorn.runtime.bundle import Bundle

log = structlog.get_logger(__name__)
_FILE: Final = "logger"


class Loggers:
    """Starts logging programs; `allowed` are their absolute paths."""

    def __init__(self, allowed: Sequence[str], environment: Mapping[str, str]) -> None:
        self._allowed = frozenset(allowed)
        self._path = environment.get("PATH", "")

    def check(self, place: Place) -> None:
        """PermissionDenied for a program that the configuration doesn't name, InvalidArgument for one that
        isn't there or that others than root can change.
        """
        if place.path not in self._allowed:
            raise PermissionDenied(
                f"{place.path} may not be started as a logging program",
                hint="name it in `logs.programs` of the configuration", field="stdout",
            )  # fmt: skip
        try:
            found = os.stat(place.path)
        except OSError as error:
            raise InvalidArgument(f"no logging program {place.path}", why=str(error.strerror)) from None
        if not stat.S_ISREG(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
            raise InvalidArgument(f"{place.path} isn't a program of root's that only root can change")

    async def start(
        self, place: Place, bundle: Bundle, name: str, namespace: str, ends: Sequence[int]
    ) -> None:
        """Start the program of `name` on the reading ends of stdout and stderr, and wait until it listens.

        FailedPrecondition when it ends before, or says nothing.
        """
        self.check(place)
        ready, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            environment = {"PATH": self._path, "CONTAINER_ID": name, "CONTAINER_NAMESPACE": namespace}
            given = {3: ends[0], 4: ends[1], 5: theirs}
            try:
                pid = process.spawn([place.path, *place.arguments], environment, given, session=True)
            finally:
                os.close(theirs)
            identity = process.identify(pid)
            assert identity is not None, "an unreaped child has a stat file"
            bundle.write(_FILE, json.dumps([identity.pid, identity.start_ticks]))
            await self._wait_ready(place, identity, ready)
        finally:
            os.close(ready)

    async def _wait_ready(self, place: Place, identity: ProcessIdentity, ready: int) -> None:
        with trio.move_on_after(limits.LOGGER_READY) as patience:
            await trio.lowlevel.wait_readable(ready)
        if patience.cancelled_caught or not _listens(identity):
            process.send(identity, signal.SIGKILL)
            await process.wait_gone(identity)
            process.reap(identity.pid)
            why = "it said nothing" if patience.cancelled_caught else "it ended"
            raise FailedPrecondition(f"the logging program {place.path} doesn't take output", why=why)


def _listens(program: ProcessIdentity) -> bool:
    """Whether it runs and isn't ending: then the pipe was closed because all that it had open was."""
    try:
        return process.alive(program) and bool(os.listdir(f"/proc/{program.pid}/fd"))
    except OSError:
        return False


async def end_logger(bundle: Bundle) -> None:
    """Wait for a process's logging program, whose input has ended; one that stays is told to go."""
    identity = _saved(bundle)
    if identity is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL, 0):
        with trio.move_on_after(limits.LOGGER_END):
            await process.wait_gone(identity)
            break
        log.warning("logging program stays", pid=identity.pid, signal=number)
        process.send(identity, number)
    process.reap(identity.pid)
    with suppress(FileNotFoundError):
        os.unlink(bundle.file(_FILE))


def _saved(bundle: Bundle) -> ProcessIdentity | None:
    try:
        with open(bundle.file(_FILE), encoding="ascii") as file:
            return ProcessIdentity(*json.load(file))
    except (FileNotFoundError, ValueError, TypeError):
        return None
