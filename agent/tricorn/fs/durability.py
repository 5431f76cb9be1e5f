"""Flush a file system: what power may take away without it."""

from __future__ import annotations

import ctypes
import os

import trio

from tricorn.errors import Internal

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIMITER = trio.CapacityLimiter(2)


async def sync_filesystem(path: str) -> None:
    """Write all that is dirty on the file system of `path` to its device (syncfs(2)); Internal if the
    device failed.
    """
    await trio.to_thread.run_sync(_syncfs, path, limiter=_LIMITER)


def _syncfs(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.syncfs(descriptor):
            number = ctypes.get_errno()
            raise Internal(f"the file system of {path} could not be flushed", why=os.strerror(number))
    finally:
        os.close(descriptor)
