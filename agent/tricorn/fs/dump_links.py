"""Links on the way to where CRIU makes files of a dump."""

from __future__ import annotations

import errno
import os
from typing import Final

from tricorn.fs import syscalls

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PLAIN: Final = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS


def has_link(base: str, below: str) -> bool:
    """Return whether one of the directories of `below` is a link, or no directory, as seen from `base`. What
    isn't there is none: CRIU takes the directory above then.

    Raises OSError where it can't be read.
    """
    root = -1
    try:
        root = os.open(base, _DIRECTORY)
        os.close(syscalls.openat2(root, os.fsencode(below), _DIRECTORY, 0, _PLAIN))
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EXDEV):
            raise
        return True
    finally:
        if root >= 0:
            os.close(root)
    return False
