"""The identity of an installation: a UUID in its root directory, made once."""

from __future__ import annotations

import os
from typing import Final
from uuid import UUID, uuid4

import trio

from tricorn.errors import Internal

_LIMITER: Final = trio.CapacityLimiter(1)  # so that two first calls make one UUID
_SIZE: Final = 64


async def installation_uuid(root: str) -> str:
    """Return the UUID of the installation in `root`, the same for as long as the directory lives.

    Raises Internal when it can be neither read nor made.
    """
    return await trio.to_thread.run_sync(_read_or_make, os.path.join(root, "uuid"), limiter=_LIMITER)


def _read_or_make(path: str) -> str:
    try:
        return _read(path) or _make(path)
    except OSError as error:
        raise Internal("the installation's UUID could not be kept", why=str(error)) from error


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return str(UUID(file.read(_SIZE).strip()))
    except (FileNotFoundError, ValueError):  # a crash may have left half of one
        return ""


def _make(path: str) -> str:
    made = str(uuid4())
    temporary = f"{path}.new"
    with open(
        temporary, "w", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)
    ) as file:
        file.write(f"{made}\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return made
