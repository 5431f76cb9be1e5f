"""Undoes what a test that ran the agent's parts in this process made of it: a parent of others' orphans."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_SET_CHILD_SUBREAPER = 36
_GET_CHILD_SUBREAPER = 37
_libc = ctypes.CDLL(None)


def is_subreaper() -> bool:
    flag = ctypes.c_int()
    _libc.prctl(_GET_CHILD_SUBREAPER, ctypes.byref(flag), 0, 0, 0)
    return bool(flag.value)


def stop_reaping() -> None:
    """Give up being the subreaper, and bury the dead it collected.

    Otherwise daemons that later tests start and stop would stay zombies of this process, and whoever
    waits for them to go (start-stop-daemon, say) would wait in vain.
    """
    _libc.prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    for child in _children():
        if _is_zombie(child):
            os.waitpid(child, os.WNOHANG)


def _children() -> list[int]:
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
