"""Lets a created container go as its runtime's `start` would, without another process of the runtime.

Since containers are created and started in two steps, the first process of one waits at a FIFO in the
runtime's state directory, `exec.fifo`: crun's reads from it, runc's writes to it. Whoever comes to the other
end and takes the FIFO away has started the container (crun: libcrun_status_write_exec_fifo; runc:
libcontainer's handleFifoResult). Hooks that follow a start, and whatever looks unlike this, are left to the
runtime, which says what is wrong, too.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec
import trio

FIFO: Final = "exec.fifo"
WITH_FIFO: Final = ("crun", "runc")  # as they call themselves
_CONFIG_SIZE: Final = 16 << 20
_LOOK: Final = 0.1  # seconds between two looks whether the process is still there
_GO: Final = b"\0"


class _Hooks(msgspec.Struct):
    poststart: list[msgspec.Raw] | None = None


class _Config(msgspec.Struct):
    hooks: _Hooks | None = None


def follows_hooks(config_file: str) -> bool:
    """Return whether the runtime has hooks to run after the start, or may have: the file can't be read."""
    try:
        with open(config_file, "rb") as file:
            config = msgspec.json.decode(file.read(_CONFIG_SIZE), type=_Config)
    except (OSError, msgspec.MsgspecError):
        return True
    return bool(config.hooks and config.hooks.poststart)


async def release(state_directory: str, alive: Callable[[], bool]) -> bool:
    """Let the container's first process go; `alive` tells whether it is there. Return False where that isn't
    possible: the runtime's own `start` does it then, or says why not.
    """
    path = f"{state_directory}/{FIFO}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        await trio.lowlevel.checkpoint()
        return error.errno == errno.ENXIO and await _let_write(path, alive)
    try:
        os.write(fd, _GO)
    except OSError:
        return False  # it has ended, as the runtime will say
    finally:
        os.close(fd)
    # After the word, unlike crun: an agent that is killed in between leaves a container that runs, though the
    # runtime calls it a created one, and not one that nothing can start any more.
    _take_away(path)
    return True


async def _let_write(path: str, alive: Callable[[], bool]) -> bool:
    """Read what a process has to say that waits for a reader, or will in a moment."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        while not await _readable(fd):
            if not alive():
                return False
        said = os.read(fd, 1)
    except OSError:
        return False
    finally:
        os.close(fd)
    if said:
        _take_away(path)
    return bool(said)


def _take_away(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


async def _readable(fd: int) -> bool:
    with trio.move_on_after(_LOOK):
        await trio.lowlevel.wait_readable(fd)
        return True
    return False
