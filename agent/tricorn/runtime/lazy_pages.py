"""The program that gives a restored container its memory, page by page: `criu lazy-pages`.

It outlives the agent as the container does. A shell waits for it and writes down how it ended, before it ends
itself: whoever looks later can tell a container that has all of its memory from one that lost the rest.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import trio

from tricorn.errors import DeadlineExceeded, FailedPrecondition
from tricorn.model.records import ProcessIdentity
from tricorn.ports import LazyState
from tricorn.runtime import criu, process
from tricorn.runtime.bundle import Bundle

PROCESS, STATUS = "lazy-pages.pid", "lazy-pages.status"
LOG, SOCKET = "lazy-pages.log", "lazy-pages.socket"
_READY: Final = 30.0  # seconds
_READY_FD: Final = 3
_SHELL: Final = "/bin/sh"
_SCRIPT: Final = 'status=$1; shift; "$@"; echo $? >"$status.new"; mv "$status.new" "$status"'


async def start(bundle: Bundle, program: str, images: str, environment: Mapping[str, str]) -> None:
    """Start it for a dump, and return once it waits for the restore, whose working directory is the bundle.

    FailedPrecondition with CRIU's words; DeadlineExceeded.
    """
    _forget(bundle)
    argv = [
        _SHELL, "-c", _SCRIPT, "sh", bundle.file(STATUS), program, "lazy-pages", "--images-dir", images,
        "--work-dir", bundle.path, "--log-file", LOG, "-v2", f"--status-fd={_READY_FD}",
    ]  # fmt: skip
    ready, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        try:
            pid = process.spawn(argv, environment, {_READY_FD: theirs}, session=True)
        finally:
            os.close(theirs)
        identity = process.identify(pid)
        assert identity is not None, "an unreaped child has a stat file"
        bundle.write(PROCESS, f"{identity.pid} {identity.start_ticks}")
        try:
            await _until_ready(bundle, ready)
        except BaseException:
            stop(bundle)
            raise
    finally:
        os.close(ready)


async def _until_ready(bundle: Bundle, ready: int) -> None:
    with trio.move_on_after(_READY):
        await trio.lowlevel.wait_readable(ready)
        if os.read(ready, 1) == b"\0":
            return
        words, advice = criu.log_of(bundle.path, LOG)
        raise FailedPrecondition(
            "what gives a container its memory later can't be started",
            why=words or "criu lazy-pages ended", hint=advice or "restore without lazy pages",
        )  # fmt: skip
    raise DeadlineExceeded("criu lazy-pages isn't ready", why=f"waited {_READY:g} s")


def state(bundle: Bundle) -> LazyState:
    """Return how far it is: "" for a container that was not restored so."""
    identity = _identity(bundle)
    if identity is None:
        return ""
    if process.alive(identity):
        return "serving"
    return "done" if _status(bundle) == "0" else "failed"


async def wait(bundle: Bundle) -> LazyState:
    """Wait until it has ended; return `done` if all memory was given, `failed` if some is lost, "" if the
    container is gone.
    """
    identity = _identity(bundle)
    if identity is not None:
        await process.wait_gone(identity)
        process.reap(identity.pid)
        if _identity(bundle) == identity:  # else the container is gone, and another may have its name
            return "done" if _status(bundle) == "0" else "failed"
    return ""


def stop(bundle: Bundle) -> None:
    """End it, for a container that is gone or never came to be; idempotent."""
    identity = _identity(bundle)
    if identity is not None and process.alive(identity):
        with suppress(ProcessLookupError):
            os.killpg(identity.pid, signal.SIGKILL)  # it leads a session
    _forget(bundle)


def _identity(bundle: Bundle) -> ProcessIdentity | None:
    try:
        with open(bundle.file(PROCESS), encoding="ascii") as file:
            pid, ticks = map(int, file.read(64).split())
    except (OSError, ValueError):
        return None
    return ProcessIdentity(pid, ticks)


def _status(bundle: Bundle) -> str:
    with suppress(OSError), open(bundle.file(STATUS), encoding="ascii") as file:
        return file.read(16).strip()
    return ""


def _forget(bundle: Bundle) -> None:
    for name in (PROCESS, STATUS, SOCKET):
        with suppress(FileNotFoundError):
            os.unlink(bundle.file(name))
