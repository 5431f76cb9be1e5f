"""Turns OSError of file system work into the agent's typed errors."""

from __future__ import annotations

import errno
import os
from typing import Final

from tricorn import errors

EXHAUSTED: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG}
)
_HINTS: Final = {
    errno.ENOSPC: "free space or inodes on the file system, or run the garbage collection",
    errno.EDQUOT: "raise the disk quota",
    errno.EMFILE: "raise LimitNOFILE of the service",
    errno.ENFILE: "raise fs.file-max",
}
_CLASSES: Final[dict[int, type[errors.TricornError]]] = {
    errno.ENOENT: errors.NotFound,
    errno.EEXIST: errors.AlreadyExists,
    errno.EPERM: errors.PermissionDenied,
    errno.EACCES: errors.PermissionDenied,
    errno.EBUSY: errors.FailedPrecondition,
    errno.ENOTEMPTY: errors.FailedPrecondition,
    errno.EROFS: errors.FailedPrecondition,
    errno.ENODEV: errors.Unimplemented,
    errno.ENOSYS: errors.Unimplemented,
    errno.EOPNOTSUPP: errors.Unimplemented,
    errno.EXDEV: errors.InvalidArgument,
    errno.ELOOP: errors.InvalidArgument,
    errno.ENOTDIR: errors.InvalidArgument,
    errno.ENAMETOOLONG: errors.InvalidArgument,
}


def typed(error: OSError, what: str) -> errors.TricornError:
    """Return the typed error for `error`, met while doing `what` (a phrase such as "cannot mount X")."""
    code = error.errno or 0
    cls = errors.ResourceExhausted if code in EXHAUSTED else _CLASSES.get(code, errors.Internal)
    return cls(what, why=os.strerror(code) if code else str(error), hint=_HINTS.get(code, ""))
