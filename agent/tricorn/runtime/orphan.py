"""Containers that lost their monitor (killed by hand or for want of memory)."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import structlog
import trio

from tricorn.model.records import ProcessIdentity
from tricorn.ports import Exit
from tricorn.runtime import process
from tricorn.runtime.cgroup import Cgroup

log = structlog.get_logger(__name__)
_EXIT_CODE: Final = 60  # its offset in struct pidfd_info
_PIDFD_GET_INFO: Final = 0xC048FF0B  # Linux 6.13; the exit member since 6.15
_INFO_SIZE: Final = 72
_INFO_EXIT: Final = 1 << 3
_LOST: Final = 255


async def wait_without_monitor(init: ProcessIdentity, group: Cgroup) -> Exit:
    """Return how a container ended whose monitor left no exit file.

    One that still runs became this process's child if the monitor was, and its code is right; otherwise
    it is killed, for nobody could tell its code or keep its output. Code 255 where the code is lost.
    """
    fd = process.open_process(init)
    if fd is None:
        return Exit(_LOST, datetime.now(UTC), note="lost: it ended while neither agent nor monitor ran")
    try:
        return await _wait_orphan(init, group, fd)
    finally:
        os.close(fd)


async def _wait_orphan(init: ProcessIdentity, group: Cgroup, fd: int) -> Exit:
    ours = process.parent_of(init.pid) == os.getpid()
    log.warning("monitor lost", pid=init.pid, ours=ours)
    note = "the monitor was killed; output after that is lost"
    if not ours and process.alive(init):
        await group.kill_all()
        note = "killed, because its monitor was lost"
    await trio.lowlevel.wait_readable(fd)
    code = process.reap(init.pid)
    if code is None:
        code = exit_code_of(fd)
    await group.kill_all()
    if code is None:
        return Exit(_LOST, datetime.now(UTC), note=f"lost: {note}")
    kills = group.oom_kills()
    return Exit(code, datetime.now(UTC), oom_killed=kills > 0, note=note, oom_kills=kills)


def exit_code_of(pidfd: int) -> int | None:
    """Ask the kernel for the code of a process that somebody else reaped (Linux 6.15), else None."""
    buffer = ctypes.create_string_buffer(struct.pack("Q", _INFO_EXIT), _INFO_SIZE)
    with suppress(OSError):
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, buffer)
        mask, status = struct.unpack_from("Q", buffer)[0], struct.unpack_from("i", buffer, _EXIT_CODE)[0]
        if mask & _INFO_EXIT:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
    return None
