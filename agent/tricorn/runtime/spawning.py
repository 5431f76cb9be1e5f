"""Programs are started by a thread that has a file mode mask of its own.

What the agent makes is root's alone (umask 077). What runtimes make isn't: with that mask nobody but the
node's root could enter a container's control group. Under cgroup v2 no container in a user namespace could
be made then, and no program that isn't root would find its limits in /sys/fs/cgroup. posix_spawn knows no
mask, and the process's, changed for a moment, would be that of all threads.
"""

from __future__ import annotations

import ctypes
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_CLONE_FS: Final = 0x200  # sched.h: mask and working directory
_MASK: Final = 0o022
Spawn = Callable[[], int]


class Spawner:
    """Calls functions, one after the other, in its thread. That lives as long as the process: what was
    started may ask to be killed when the thread ends that started it.
    """

    def __init__(self) -> None:
        self._wanted: queue.SimpleQueue[tuple[Spawn, Future[int]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def call(self, spawn: Spawn) -> int:
        """Return what `spawn` returns, or raise what it raises. Blocks for about as long as it takes."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="spawn", daemon=True)
                self._thread.start()
        done: Future[int] = Future()
        self._wanted.put((spawn, done))
        return done.result()

    def _run(self) -> None:
        problem = _take_mask()
        while True:
            spawn, done = self._wanted.get()
            try:
                done.set_exception(problem) if problem else done.set_result(spawn())
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                done.set_exception(error)
            del spawn, done


def _take_mask() -> OSError | None:
    """Give the calling thread the mask; return why it can't have one of its own."""
    if _LIBC.unshare(_CLONE_FS):
        return OSError(ctypes.get_errno(), "unshare(CLONE_FS)")
    os.umask(_MASK)
    return None
