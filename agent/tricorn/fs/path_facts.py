"""What can be told of one file: kind, owner, digest, text. Imports no third-party module."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any, Final

from tricorn import limits

_READ: Final = 256 * limits.KIB
_KINDS: Final = (
    (stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "symlink"), (stat.S_ISFIFO, "fifo"),
    (stat.S_ISSOCK, "socket"),
)  # fmt: skip


def kind_of(mode: int) -> str:
    """Return a file's type by its mode, as `model.copies.PathKind` names it."""
    return next((name for test, name in _KINDS if test(mode)), "device")


def described(status: os.stat_result) -> dict[str, Any]:
    """Return the facts of a status for people: the mode in octal, the size of files."""
    facts: dict[str, Any] = {
        "type": kind_of(status.st_mode), "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "uid": status.st_uid, "gid": status.st_gid,
    }  # fmt: skip
    return facts | ({"size": status.st_size} if stat.S_ISREG(status.st_mode) else {})


def digest_of(fd: int) -> str:
    """Return the SHA-256 of an open file, and leave it at its start."""
    digest = hashlib.sha256()
    while data := os.read(fd, _READ):
        digest.update(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return digest.hexdigest()


def text_of(fd: int) -> str | None:
    """Return the text in an open file, None for one that is large or holds no text."""
    if os.fstat(fd).st_size > limits.COPY_SHOWN:
        return None
    try:
        return os.read(fd, limits.COPY_SHOWN).decode()
    except UnicodeDecodeError:
        return None
