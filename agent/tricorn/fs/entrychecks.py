"""What is wrong with a tar entry, and whose fault an error is that came of it.

Imported by the layer extractor: no third-party module.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from tricorn.errors import InvalidArgument, TricornError
from tricorn.fs.failures import typed
from tricorn.fs.tarheader import Entry, Refusal, show

_ID_MAX: Final = 2**32 - 2  # the last one means "unchanged" to chown(2)
_TIME_MAX: Final = 2**63 - 1
# Errors of one call that the archive's own content brings about.
_CONTENT: Final = frozenset({
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.EEXIST,
    errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOVERFLOW, errno.E2BIG, errno.ERANGE, errno.EILSEQ,
    errno.EACCES,
})  # fmt: skip


def check_ranges(entry: Entry) -> None:
    """Refuse owners that chown(2) cannot take; put times that no clock can hold to the epoch."""
    if not (0 <= entry.uid <= _ID_MAX and 0 <= entry.gid <= _ID_MAX):
        raise Refusal(f"its owner {entry.uid}:{entry.gid} is out of range")
    if not 0 <= entry.mtime <= _TIME_MAX:
        entry.mtime = 0  # as Go's library does with times it cannot hold


def entry_error(entry: Entry, error: OSError) -> TricornError:
    """Return the typed error for a failed call: the archive's fault, a full disk, or the host's."""
    what = f"tar entry {show(entry.name)} is refused"
    why = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _CONTENT:
        return InvalidArgument(what, why=why)
    return typed(error, f"cannot write tar entry {show(entry.name)}")


def in_user_namespace() -> bool:
    """Tell whether this process's user IDs are mapped, so that devices cannot be made."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() != ["0", "0", "4294967295"]
