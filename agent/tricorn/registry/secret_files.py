"""Files with secrets: read whole, bounded, and only while nobody else may read them."""

from __future__ import annotations

import os
import stat

from tricorn import limits
from tricorn.errors import FailedPrecondition


def read_secret(path: str, what: str) -> str:
    """Return the text of the file at `path`. Blocks.

    Raises FailedPrecondition naming `what` (never the content) when the file is missing, unreadable, larger
    than REGISTRY_SECRET_FILE, no text, of another user than root and the agent's, or open to others.
    """
    try:
        with open(path, "rb", opener=_open) as file:
            _check(os.fstat(file.fileno()), path, what)
            data = file.read(limits.REGISTRY_SECRET_FILE + 1)
    except OSError as error:
        raise unusable(what, f"{path}: {error.strerror or error}") from None
    if len(data) > limits.REGISTRY_SECRET_FILE:
        raise unusable(what, f"{path} has over {limits.REGISTRY_SECRET_FILE} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise unusable(what, f"{path} is no text") from None


def unusable(what: str, why: str, hint: str = "") -> FailedPrecondition:
    """Return the error of credentials that are configured and can't be had."""
    return FailedPrecondition(
        f"{what} can't be used",
        why=why,
        hint=hint or "`tricorn registry explain HOST` shows what is configured",
    )


def _open(path: str, flags: int) -> int:
    # Neither a FIFO nor a device may keep the reader waiting.
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)


def _check(status: os.stat_result, path: str, what: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise unusable(what, f"{path} is no regular file")
    if status.st_uid not in {0, os.geteuid()}:
        raise unusable(what, f"{path} belongs to user {status.st_uid}", f"chown root {path}")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise unusable(what, f"{path} is open to other users (mode {mode:04o})", f"chmod 600 {path}")
