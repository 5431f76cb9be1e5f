"""Opening the client's side of a process's stdio: FIFOs that it made, files that it named."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Final, Self

import trio
from attrs import define

from tricorn import limits
from tricorn.errors import DeadlineExceeded, InvalidArgument, NotFound, PermissionDenied, TricornError
from tricorn.rules.stdio_places import Place, Places

_LIMITER: Final = trio.CapacityLimiter(8)
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


@define(eq=False)
class Opened:
    """What was opened; -1 stands for nothing. A FIFO for output is open for reading, too: so the process
    outlives the client that reads, and that client can come back. A FIFO for stdin isn't open yet. Streams
    of the streaming service are pipes, and count as FIFOs.
    """

    stdin: int = -1
    stdout: int = -1
    stderr: int = -1
    fifos: frozenset[str] = frozenset()  # which streams are FIFOs; the others are files to be given away
    streams: frozenset[str] = frozenset()  # which of them end with the agent: nothing of them is to be kept

    def take(self, name: str) -> int:
        """Hand one descriptor over to the caller, who closes it."""
        fd: int = getattr(self, name)
        setattr(self, name, -1)
        return fd

    def close(self) -> None:
        for name in ("stdin", "stdout", "stderr"):
            fd = self.take(name)
            if fd >= 0:
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def open_places(places: Places) -> Opened:
    """Open what `places` name, without waiting for whoever has the other end.

    NotFound, PermissionDenied, InvalidArgument (neither FIFO nor file), DeadlineExceeded when a file
    system doesn't answer.
    """
    with trio.move_on_after(limits.STDIO_OPEN):
        return await trio.to_thread.run_sync(_open_all, places, limiter=_LIMITER, abandon_on_cancel=True)
    raise DeadlineExceeded("the process's stdio can't be opened", why=f"no answer in {limits.STDIO_OPEN:g} s")


async def open_stdin(place: Place) -> tuple[int, int]:
    """Open the client's FIFO of stdin; return its reading end, and a writing end that keeps it from its end
    of file until the client asks for that. (-1, -1) if it is gone.

    Not before the process is started: `ctr` begins to copy, and may come to the end of its own input,
    as soon as somebody reads, but can tell of that end only once the task has been created.
    """
    with suppress(TricornError), trio.move_on_after(limits.STDIO_OPEN):
        return await trio.to_thread.run_sync(_open_stdin, place, limiter=_LIMITER, abandon_on_cancel=True)
    return -1, -1


def _open_stdin(place: Place) -> tuple[int, int]:
    source = _open(place, "stdin", os.O_RDONLY)
    try:
        return source, _open(place, "stdin", os.O_WRONLY)
    except TricornError:
        os.close(source)
        raise


def _open_all(places: Places) -> Opened:
    opened = Opened()
    fifos = set()
    try:
        if places.stdin.path:
            opened.stdin = _open(places.stdin, "stdin", os.O_PATH)
            is_fifo = stat.S_ISFIFO(os.fstat(opened.stdin).st_mode)
            os.close(opened.take("stdin"))
            if is_fifo:
                fifos.add("stdin")
            else:
                opened.stdin = _open(places.stdin, "stdin", os.O_RDONLY)
        for name in ("stdout", "stderr"):
            place: Place = getattr(places, name)
            if place.path and place.kind != "program":
                fd = _open_output(place, name)
                setattr(opened, name, fd)
                if stat.S_ISFIFO(os.fstat(fd).st_mode):
                    fifos.add(name)
    except BaseException:
        opened.close()
        raise
    opened.fifos = frozenset(fifos)
    return opened


def _open_output(place: Place, stream: str) -> int:
    if place.kind == "file":
        with suppress(OSError):
            os.makedirs(os.path.dirname(place.path), mode=0o755, exist_ok=True)
        return _open(place, stream, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    fd = _open(place, stream, os.O_RDWR | os.O_APPEND)
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISCHR(mode):
        return fd
    os.close(fd)
    raise InvalidArgument(f"{stream} is neither a FIFO nor a file", why=place.path, field=stream)


def _open(place: Place, stream: str, flags: int) -> int:
    try:
        return os.open(place.path, flags | _FLAGS, 0o644)
    except FileNotFoundError:
        raise NotFound(f"{stream} doesn't exist", why=place.path, field=stream) from None
    except PermissionError:
        raise PermissionDenied(f"{stream} can't be opened", why=place.path, field=stream) from None
    except OSError as error:
        raise InvalidArgument(
            f"{stream} can't be opened", why=f"{place.path}: {error.strerror}", field=stream
        ) from None
